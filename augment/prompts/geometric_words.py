"""Geometric words: patterns of how sentences speak of a lesion's place, size, outline and frame."""

import re

HERE, BESIDE = "\ue000", "\ue001"
"""Stand for a word of place, and for what it is said beside of, while a sentence is worked on;
`clean` lets no caption hold them."""

NOUN = (
    r"(?:lesion|mole|nevus|naevus|melanoma|carcinoma|keratosis|dermatofibroma|h?a?emangioma|angioma"
    r"|angiokeratoma|lentigo|macule|papule|plaque|nodule|tumou?r|neoplasm|growth|melanocytoma)"
)
PLURAL = (
    r"(?:lesions|moles|nevi|naevi|melanomas|carcinomas|keratoses|dermatofibromas|h?a?emangiomas"
    r"|angiomas|lentigines|macules|papules|plaques|nodules|tumou?rs|growths)"
)
LOOSE = r"(?:patch|spot|blotch|band)"
FRAME = (
    r"(?:(?:the|this|our|an?)\s+)?(?:whole\s+|entire\s+|dermoscopic\s+|visible\s+)*"
    r"(?:images?|frame|pictures?|photo\w*|field(?:\s+of\s+view)?|view|square|crop|shot)\b"
)
SOFTLY = (
    r"(?:slightly|somewhat|fairly|rather|very|quite|relatively|roughly|mostly|mainly|nearly|almost"
    r"|moderately|markedly|highly|predominantly|generally|approximately|just|a\s+bit|well"
    r"|eccentrically|centrally|directly|immediately|more|extremely|partially|partly)"
)
SIZE = (
    r"(?:(?:very|medium|large|small|mid|moderately|average)[- ]sized?|tiny|small(?:er|ish)?|little"
    r"|minute|medium|mid-?size|moderate|large(?:r)?|big(?:ger)?|huge|giant|massive|enormous"
    r"|size?able|extensive|broad|wide|frame-filling|pinpoint|diminutive)"
)
SHAPE = (
    r"(?:round(?:ed|ish)?|oval|ovoid|ovular|ellip(?:tical|tic|soid)|circular|(?:ir)?regular"
    r"|(?:ir)?regularly[- ]shaped|(?:oval|round|well|oddly|unevenly)[- ]shaped|(?!dome)\w+-shaped"
    r"|elongated|linear|annular|oblong|polygonal|triangular|rectangular|(?:poly)?lobulated"
    r"|multilobed|a?symmetric(?:al|ally)?|uneven|frame-filling)"
)
GEOMETRIC = rf"(?:(?:{SOFTLY}\s+)*(?:{SIZE}|{SHAPE}))"
EDGED = (
    r"(?:(?:ir)?regular(?:ly)?(?:\s+(?:shaped|outlined|contoured))?|notched|scalloped|jagged|uneven"
    r"|lobulated|ragged|wavy|undulating|angulated|round(?:ed)?|oval|circular|a?symmetric(?:al)?)"
)
TINTED = r"(?:brown|tan|gr[ae]y|pink|red|beige|blue|toned)"
COLOR = (
    r"(?:dark|light|pale|deep|black|brown(?:ish)?|tan|gr[ae]y(?:ish)?|blue(?:-gr[ae]y|-black)?"
    r"|bluish|red(?:dish)?|pink(?:ish)?|white|whitish|yellow(?:ish)?|purple|violet|skin-colou?red"
    r"|(?:dark|light|red|pink|yellow|gr[ae]y|multi)[- ](?:brown|colou?red)|pigmented|variegated)"
)
SHADE = rf"medium(?=[- ]{TINTED}\b)"
VERB = (
    r"(?:is|are|was|were|appears?|looks?|seems?|has|have|shows?|showing|displays?|exhibits?"
    r"|reveals?|depicts?|contains?|features?|measures?|presents?|demonstrates?|depicting)"
)
STOP = re.compile(
    rf"(?:{VERB}|of|with|on|in|at|by|from|near|under|over|against|within|for|as|into|without|but"
    r"|consistent|resembling|suggestive|that|which)",
    re.IGNORECASE,
)
ARTICLE = re.compile(r"(?:an?|the|this|that|one|its|single|solitary)", re.IGNORECASE)
COUNT = re.compile(
    r"(?:two|three|four|five|several|multiple|many|few|some|numerous|both|clustered|these)",
    re.IGNORECASE,
)

PREPOSITION = (
    r"(?:\b(?:at|in|on|near|towards?|to|within|along|around|across|from|between|through|close\s+to"
    r"|next\s+to|adjacent\s+to|into|over|off|by|extending|spanning|occupying|filling|covering)\b)"
)
LINK = (
    r"(?:located|situated|positioned|placed|cent(?:ered|red)|lying|lies|sits|sitting|found|seen"
    r"|visible|present|set|concentrated|oriented|occupying|extending|most\s+prominent|lie|sit"
    r"|cut\s+off|cropped|truncated|tilted|rotated|scattered|distributed|arranged)"
)
SPOT = (
    r"(?:corners?|sides?|hal(?:f|ves)|edges?|borders?|margins?|parts?|portions?|thirds?|two-thirds"
    r"|quarters?|quadrants?|regions?|areas?|aspects?|poles?|periphery|ends?|sectors?|segments?"
    r"|positions?|direction|axis|oriented|aligned)"
)
ITSELF = rf"(?:the|this|its|their)\s+(?:{NOUN}|{PLURAL}|{LOOSE})"

CENTER = re.compile(
    rf"\boff[- ]cent(?:er|re)(?:ed)?\b|(?P<before>(?:\b(?:the|at|near|in|exact|dead|to|towards?)"
    rf"|{HERE}{BESIDE}?)[\s-]+)(?:very\s+|exact\s+)?\b(?:cent(?:er|re)|middle)\b(?!\s+of\s+{ITSELF})"
    r"|\b(?:cent(?:ered|red)|centrally)(?=\s+(?:in|on|within|located|placed|positioned|situated)\b)",
    re.IGNORECASE,
)

JOINT = r"(?:\s*,\s*(?:and\s+|but\s+)?|\s+(?:and|to|or|but)\s+)"
ALIKE = rf"{GEOMETRIC}(?:{JOINT}{GEOMETRIC})*"
BEFORE_A_VERB = rf"(?:\s+and(?=\s+{VERB}\b))?"

SHARE_OF_THE_FRAME = (
    r",?\s*\b(?:(?:which|that)\s+|and\s+)?(?:nearly\s+|almost\s+|partly\s+|partially\s+)*"
    r"(?:fill|cover|occup|span|tak|dominat|extend|reach|stretch|touch|cut|crop|truncat|run|spread"
    rf"|scatter|distribut|dispers)[a-z]*\b(?:(?!{FRAME}|\bwith\b)[^,;.])*?\s{FRAME}"
)
"""As in "that fills most of the image"."""

PLACE = (
    rf"(?:,?\s*\b(?:and\s+)?(?:(?:which|that)\s+)?(?:(?:is|are|was|being)\s+)?(?:{SOFTLY}\s+)*"
    rf"{LINK}\s+)?(?:,\s*(?={PREPOSITION}\b))?(?:{SOFTLY}\s+)*(?:{PREPOSITION}\s+)*"
    r"(?:(?:the|its|their|whose|an?)\s+)?(?:(?:far|extreme|very|exact|opposite|outer)\s+)*"
    rf"{HERE}{BESIDE}?(?:\s*(?:,|and|or|to|through|-|/)?\s*(?:(?:the|at|from|in)\s+)*"
    rf"{HERE}{BESIDE}?)*"
    rf"(?:[\s-]+{SPOT})*(?:\s+(?:of|in|within)\s+{FRAME})?(?:\s+(?:of\s+)?{ITSELF})?"
    rf"(?:(?<={BESIDE})\s+(?:an?|the|this)\s+[\w-]+)?{BEFORE_A_VERB}"
)
"""As in "which is located slightly near the upper left corner of the image"."""

LENGTH = (
    r",?\s*\b(?:about|approximately|roughly|around|measur(?:es|ing)|some)?\s*\d+(?:\.\d+)?"
    r"(?:\s*(?:x|\u00d7|by|-|to)\s*\d+(?:\.\d+)?)?[\s-]*"
    r"(?:mm|cm|millimet\w+|centimet\w+)\b(?:\s+(?:in\s+)?(?:diameter|size|length|across|wide|long))?"
)
"""As in "about 6 x 4 mm in diameter"."""

FORM = (
    rf"(?:,?\s*\b(?:(?:with|has|having|of)\s+)?(?:(?:an?|its|the)\s+)?)?\b{ALIKE}\s+(?:in\s+)?"
    r"(?:shape|size|outline|contours?|silhouette|form|overall)s?\b"
    rf"(?:\s+(?:in|and)\s+(?:shape|size|outline))?{BEFORE_A_VERB}"
)
"""As in "irregular in shape" or "with an asymmetric outline"."""

SYMMETRY = (
    r",?\s*\b(?:with\s+)?(?:(?:slight|marked|clear|mild|some|good|overall)\s+)*a?symmetry"
    r"(?:\s+(?:of|in)\s+(?:(?:the\s+)?(?:shape|outline|contour|form|both\s+axes|two\s+axes"
    r"|one\s+axis)))?(?!\s+(?:of|in)\b)"
)
"""As in "with marked asymmetry"; of colour and structure it stays."""

DROPPED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        SHARE_OF_THE_FRAME,
        PLACE,
        LENGTH,
        FORM,
        SYMMETRY,
        # A clause of nothing else: ", oval,". And what is left of the frame: "of the image".
        rf"(?:^|(?<=[,;]))\s*{ALIKE}\s*(?=[,;]|$)",
        rf"\s+(?:of|within|across|throughout)\s+{FRAME}",
    )
)

OUTLINED = re.compile(
    rf"\b(?:{SOFTLY}\s+)*{EDGED}(?:(?:\s*,\s*(?:and\s+)?|\s+(?:and|but)\s+)(?:{SOFTLY}\s+)*{EDGED})*"
    r"(?:\s*,\s*|\s+(?:and|but)\s+|\s+)(?=(?:[\w-]+\s+){0,3}(?:borders?|edges?|margins?)\b)",
    re.IGNORECASE,
)
ALSO_OUTLINED = re.compile(
    r"\b(?P<kept>smooth|sharp|faint|vague|clear|blurred|fuzzy|(?:in)?distinct|[a-z]+[- ]"
    rf"(?:defined|demarcated|circumscribed))\s*(?:,|and|but)\s*(?:and\s+)?{EDGED}"
    r"(?=\s+(?:borders?|edges?|margins?)\b)",
    re.IGNORECASE,
)
BORDER_AND = re.compile(
    r"\b(?P<with>with|has|having|shows?)\s+(?:(?:an?|the|its)\s+)?(?:borders?|edges?|margins?)"
    r"(?:\s*,\s*(?:and\s+)?|\s+and\s+)",
    re.IGNORECASE,
)
BARE_BORDER = re.compile(
    r"(?:,\s*|\s+(?:with|and|has|having)\s+)(?:(?:an?|the|its)\s+)?(?:borders?|edges?|margins?)"
    r"(?=\s*(?:[,;.]|and\b|with\b|on\b|$))|^(?:borders?|edges?|margins?)(?=\s*(?:[,;.]|$))",
    re.IGNORECASE,
)
PREDICATE = re.compile(
    rf"\b(?P<verb>is|are|appears?|looks?|seems?)\s+(?P<said>{GEOMETRIC}"
    rf"(?:(?:\s*,\s*(?:and\s+|but\s+)?|\s+(?:and|to|but)\s+){GEOMETRIC})*)"
    rf"(?P<next>\s*,?\s*(?:and|but)\s+|\s*,\s*|\s*$|(?=[;.])|(?=\s+{PREPOSITION}\b)|(?=\s+with\b))",
    re.IGNORECASE,
)
ANOTHER = re.compile(
    r"(?:\s*[,;]\s*|\s+)(?:(?:and|with|next\s+to|beside|alongside|plus|near)\s+)*"
    r"(?:(?:an?|the|one|two|three|some|several)\s+)?(?:second|another|other|further|additional"
    r"|adjacent|neighbou?ring|nearby|satellite|smaller|separate)\b(?:\s+[\w-]+){0,5}?\s+"
    rf"(?:{NOUN}|{PLURAL})\b|\s+(?:and|beside|alongside|next\s+to|plus)\s+(?:an?|one|two|three)\s+"
    rf"(?:[\w-]+\s+){{0,5}}?(?:{NOUN}|{PLURAL})\b",
    re.IGNORECASE,
)
SKIN = re.compile(
    r"(?:\s*,\s*|\s+)(?:(?:and|set|seen|lying)\s+)*(?:on|against|over|upon|amid|surrounded\s+by)"
    r"\s+(?:(?!skin\b)[\w-]+\s+){0,5}skin(?:\s+tone)?\b(?!\s+lesion)",
    re.IGNORECASE,
)
SOME_BORDER = re.compile(
    r"(?:\s*,\s*|\s+(?:with|and|has|having)\s+)(?:an?\s+)?(?:[\w-]+\s+){0,3}"
    r"(?:borders?|edges?|margins?)\b",
    re.IGNORECASE,
)
