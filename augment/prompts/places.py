"""Places: the words of a free sentence that name a side of the image, turned with the image.

Notable choices:
- The list of words is closed. A word of place outside its families, or in a sense that is not
  known, cannot be turned; then the image keeps its orientation. So no sentence is made wrong.
- "Left" as a verb, "right" as an adverb, depths, and sides of the body do not turn.
- A word gives way to one of its own family: upper left to lower left, top left to bottom left.
"""

import re
from collections.abc import Iterator

from didgen.augment.prompts.language import english
from didgen.augment.prompts.schema import Attributes
from didgen.augment.prompts.sentence import parse, render, turn

UP, RIGHT, DOWN, LEFT = range(4)
"""The sides of an image, clockwise."""

FAMILIES: tuple[tuple[str, str, str, str], ...] = (
    ("top", "right", "bottom", "left"),
    ("upper", "right", "lower", "left"),
    ("superior", "right", "inferior", "left"),
    ("uppermost", "rightmost", "lowermost", "leftmost"),
    ("topmost", "rightmost", "bottommost", "leftmost"),
    ("upper", "right-hand", "lower", "left-hand"),
    ("upward", "rightward", "downward", "leftward"),
    ("upwards", "rightwards", "downwards", "leftwards"),
    ("superiorly", "on the right", "inferiorly", "on the left"),
    ("north", "east", "south", "west"),
    ("northern", "eastern", "southern", "western"),
    ("northward", "eastward", "southward", "westward"),
)
"""Words for up, right, down and left. A word is of the first family that has it."""

RELATIONS = ("above", "to the right of", "below", "to the left of")
"""Words for what lies beside another thing."""

_WORDS = {
    word: (family, side)
    for family in reversed(FAMILIES)
    for side, word in enumerate(family)
    if " " not in word
}

_BODY = (
    r"(?:fore)?arms?|hands?|wrists?|elbows?|shoulders?|legs?|thighs?|knees?|cal(?:f|ves)|shins?"
    r"|ankles?|f(?:oo|ee)t|toes?|toenails?|heels?|soles?|palms?|fingers?|fingernails?|thumbs?"
    r"|cheeks?|ears?|earlobes?|eyes?|eyelids?|lids?|eyebrows?|brows?|nose|nostrils?|lips?|chin"
    r"|jaws?|jawline|forehead|temples?|scalp|face|neck|chest|breasts?|back|flanks?|abdomen|belly"
    r"|hips?|buttocks?|groin|trunk|torso|limbs?|extremit(?:y|ies)|clavicles?|scapulae?|axillae?"
    r"|armpits?|body|canth(?:us|i)"
)
_ANATOMY = (
    r"(?:supero|infero|antero|postero|medio|latero|dorso|ventro)?(?:later|medi|proxim|dist|crani"
    r"|caud|ventr|dors|rostr|uln|nas|tempor)al(?:ly|ward)?|mesial|ulnar|cephal(?:ad|ic)"
    r"|(?:antero|postero|supero|infero)?(?:anterior|posterior)(?:ly)?"
)
_ANY = r"(?:upper|lower|top|bottom|superior|inferior|left|right)"
_FRAME = (
    r"(?:the |this |our )?(?:whole |entire |dermoscopic )?"
    r"(?:image|frame|picture|photo\w*|field|view|square|crop|shot)\b"
)
_NATION = r"(?:asian|african|european|american|indian|german|mediterranean)"
_MEASURED = (
    r"(?:dermis|epidermis|layers?|limits?|bounds?|contrast|densit(?:y|ies)|intensity|magnification"
    r"|power|grade|risk|resolution|frequency|number|amount|saturation|brightness|quality|than)\b"
)
_DEPTH = r"(?:the )?(?:surrounding )?(?:skin|surface|level|epidermis|dermis|average|normal|\d)"

_OF_A_BODY = (
    rf"\b(?:(?:{_ANY}(?!-hand\b)|{_ANATOMY}|inner|outer|mid|front)[ -]+)+(?:{_BODY})\b"
    rf"|\b{_ANY}(?:[ -]{_ANY})? (?:side|half|part|portion|aspect) of "
    rf"(?:(?:the|a|his|her|their|patient's) )*(?:{_BODY})\b"
)
"""As in "left upper arm" or "right side of the nose"."""

_LEFT_BEHIND = (
    r"\b(?:has|have|had|having|was|were|been|being|nothing|little|none) left\b(?! of\b)"
    r"|(?<!the )(?<!at )(?<!to )(?<!upper )(?<!lower )\bleft[ -](?:by|behind|over|after|from|out"
    r"|alone|intact|blank|bare|untouched|uncovered|unpigmented|unaffected|visible|exposed|open"
    r"|in place)\b"
)
"""Left as a verb."""

_RIGHT_THERE = (
    r"\bright[ -]angle[sd]?\b"
    r"|(?<!the )(?<!at )(?<!to )(?<!far )(?<!and )(?<!or )(?<!upper )(?<!lower )(?<!top )"
    r"(?<!bottom )(?<!-)\bright(?= (?:next|beside|near|along|through|around|across|behind|before"
    r"|after|away|in|at|on|inside|under|beneath|above|below)\b)"
)
"""Right as an adverb, and right angles."""

_NO_PLACE = (
    rf"\b(?:upper|lower|top|superior|inferior)(?: (?:papillary|reticular))? {_MEASURED}"
    rf"|\b(?:above|below) {_DEPTH}|\bon top of\b|\btop[ -]down\b"
    r"|\b(?:made|makes|making|breaks?|breaking|broken|takes?|taking|taken|lights?|follow|clumps?"
    r"|clumped|build|built|close|closed)[ -]up\b"
    r"|\bup[ -]to\b|\bup close\b|\bbreak(?:ing|s)? down\b"
    rf"|\b(?:north|south|east|west)(?:ern)?[ -]{_NATION}|\b(?:vertical|horizontal) growth\b"
)
"""Depth, comparison, descent, and ways of speaking."""

_KEPT = f"{_OF_A_BODY}|{_LEFT_BEHIND}|{_RIGHT_THERE}|{_NO_PLACE}"

_HOURS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
_HOUR = rf"\b(?:1[0-2]|0?[1-9]|{'|'.join(_HOURS)})(?::[0-5]\d)?"
_O_CLOCK = r"[\s-]*o[\s-]?['\u2019`\u00b4]?\s?clock\b"
_AND = r"(?:,\s*(?:and|or)\b|,|and\b|or\b|to\b|through\b|until\b|[/&\u2013\u2014-])"
_CLOCK = rf"{_HOUR}(?:(?:{_O_CLOCK})?\s*{_AND}\s*{_HOUR})*{_O_CLOCK}"

_VERTICAL, _HORIZONTAL = r"(?:upper|lower|top|bottom|superior|inferior)", r"(?:left|right)"
_JOIN = r"(?:\s*[-/]\s*|\s+)"

_OPAQUE = (
    rf"\b(?:{_ANATOMY})\b|\b(?:first|second|third|fourth|1st|2nd|3rd|4th) quadrant"
    r"|\bquadrants? (?:[1-4]|i{1,3}|iv)\b|\b\d+\s?(?:degrees?\b|\u00b0)"
    r"|\bo['\u2019`\u00b4]?\s?clock\b|\b\d{1,2}:\d\d\b"
    r"|\b(?:up|down|upside)\b|\b(?:north|south|east|west)(?:er\w+|most)\b"
    r"|\b(?:high|low)(?:er)? (?:up )?(?:in|on|within) (?:the|this)\b"
    r"|\b(?:vertic|horizont)\w*|\b(?:taller|wider|higher) than\b"
)
"""Places that no other word can stand for."""

_PLACES = re.compile(
    rf"(?P<article>\ban?\s+)?(?:(?P<kept>{_KEPT})"
    rf"|(?P<clock>{_CLOCK})"
    r"|(?P<spin>\b(?:(?:counter|anti)-?)?clockwise\b)"
    rf"|(?P<relation>\b(?:to the )?(?P<beside>left|right) of\b(?! {_FRAME})"
    r"|\b(?P<over>above|below|superior to|inferior to)\b)"
    rf"|(?P<corner>\b(?P<v>{_VERTICAL})(?P<join>{_JOIN})(?P<h>{_HORIZONTAL})\b(?P<hand>-hand)?"
    rf"|\b(?P<h2>{_HORIZONTAL})(?P<join2>{_JOIN})(?P<v2>{_VERTICAL})\b)"
    r"|(?P<compass>\b(?P<ns>north|south)(?P<join3>[\s-]?)(?P<ew>east|west)(?P<ern>ern|ward)?\b)"
    rf"|(?P<opaque>\b(?:left|right)[- ]sided\b|\bon top\b)"
    rf"|(?P<side>\b(?:{'|'.join(sorted(map(re.escape, _WORDS), key=len, reverse=True))})\b)"
    r"|(?P<axis>\b(?:vertical|horizontal)(?:ly)?\b)"
    r"|(?P<longer>\b(?:wider|broader) than (?:it is )?(?:tall|high)\b"
    r"|\b(?:taller|higher) than (?:it is )?(?:wide|broad)\b)"
    rf"|(?P<unknown>{_OPAQUE}))",
    re.IGNORECASE,
)
"""The closed list: what stays as it is, what turns, and what cannot be turned."""

_BEFORE = re.compile(
    r"(?:\b(?:the|at|on|to|towards?|in|from|far|extreme|mid|middle|cent(?:er|re|ral)|slightly|more"
    r"|and|or|its|their)|[,/-])\s*$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"[\s-]*(?:(?:outer |inner |peripheral )?(?:sides?|hal(?:f|ves)|edges?|borders?|margins?"
    r"|corners?|parts?|portions?|thirds?|two-thirds|quarters?|quadrants?|regions?|areas?|aspects?"
    r"|poles?|periphery|ends?|sectors?|segments?)\b|of\b|cent(?:er|re)\b|and (?:right|left)\b"
    r"|to (?:right|left)\b)",
    re.IGNORECASE,
)


class _CannotTurn(Exception):
    """A word of place that no other can stand for."""


def turned(caption: str, turns: int, mirrored: bool) -> str | None:
    """The caption of an image turned by quarters (counter-clockwise) and then mirrored.

    A caption that `render` wrote has its position moved; of a free one the words are turned. None
    where that cannot be done: then the image must stay as it is.
    """
    attributes = parse(caption)
    if isinstance(attributes, Attributes):
        return render(turn(attributes, turns, mirrored))
    return turn_words(caption, turns, mirrored)


def turn_words(sentence: str, turns: int, mirrored: bool) -> str | None:
    """The free sentence of an image turned by quarters (counter-clockwise) and then mirrored.

    None where it names a place that cannot be turned, or is not English: then the image must stay
    as it is. A sentence that names no place comes back as it was.
    """
    if turns % 4 == 0 and not mirrored:
        return sentence
    if not english(sentence):
        return None
    turner = _Turner(turns % 4, mirrored)
    try:
        return _PLACES.sub(turner.replaced, sentence)
    except _CannotTurn:
        return None


def places_in(sentence: str) -> Iterator[tuple[int, int]]:
    """Where a sentence speaks of places that turn, or would have to: spans of characters."""
    for found in _PLACES.finditer(sentence):
        if found["kept"] is None:
            yield found.start() + len(found["article"] or ""), found.end()


class _Turner:
    """Replaces the words of `_PLACES` for one orientation."""

    def __init__(self, turns: int, mirrored: bool) -> None:
        self.turns, self.mirrored = turns, mirrored

    def side(self, side: int) -> int:
        """Where a side of the image is after it was turned."""
        side = (side - self.turns) % 4
        return (-side) % 4 if self.mirrored else side

    def replaced(self, found: re.Match[str]) -> str:
        """The words for what was found, with the article and the capital that they had."""
        article, name = found["article"] or "", found.lastgroup
        assert name is not None
        kind = next(kind for kind in _KINDS if found[kind] is not None)
        said: str = found[kind]
        if kind == "kept":
            return found[0]
        if kind in ("opaque", "unknown"):
            raise _CannotTurn
        words = getattr(self, f"_{kind}")(found)
        if article:
            letter = article[0]
            article = f"{letter}n " if words[0] in "aeiou" else f"{letter} "
        elif said[0].isupper():
            words = (
                words.upper() if said.isupper() and len(said) > 1 else words[0].upper() + words[1:]
            )
        return article + words

    def _clock(self, found: re.Match[str]) -> str:
        hours = list(re.finditer(_HOUR, found["clock"], re.IGNORECASE))
        turned = [self._hour(hour[0]) for hour in hours]
        if self.mirrored and "clockwise" not in found.string.lower():
            # An arc is said clockwise: its ends change places in a mirror.
            turned.reverse()
        words, end = "", 0
        for hour, new in zip(hours, turned, strict=True):
            words += found["clock"][end : hour.start()] + new
            end = hour.end()
        return words + found["clock"][end:]

    def _hour(self, said: str) -> str:
        hour, _, minute = said.lower().partition(":")
        number = _HOURS.index(hour) + 1 if hour in _HOURS else int(hour)
        time = 60 * number + int(minute or 0) - 180 * self.turns
        time = (-time if self.mirrored else time) % 720
        new = time // 60 or 12
        return (_HOURS[new - 1] if hour in _HOURS else str(new)) + (
            f":{time % 60:02d}" if minute else ""
        )

    def _spin(self, found: re.Match[str]) -> str:
        word: str = found["spin"].lower()
        if not self.mirrored:
            return word
        return "counterclockwise" if word == "clockwise" else "clockwise"

    def _relation(self, found: re.Match[str]) -> str:
        word = (found["beside"] or found["over"]).lower()
        sides = {"above": UP, "superior to": UP, "right": RIGHT, "left": LEFT}
        new = self.side(sides.get(word, DOWN))
        if found["beside"] and new in (LEFT, RIGHT):
            return found[0].lower().replace(word, FAMILIES[0][new])
        if word.endswith(" to") and new in (UP, DOWN):
            return ("superior to", "", "inferior to")[new]
        # Without a thing beside which it lies, nothing follows "of".
        alone = re.match(
            r"\s*(?:[,;:.!?)]|$|(?:and|or) (?:above|below)\b)", found.string[found.end() :]
        )
        return RELATIONS[new].removesuffix(" of") if alone else RELATIONS[new]

    def _corner(self, found: re.Match[str]) -> str:
        vertical, horizontal = found["v"] or found["v2"], found["h"] or found["h2"]
        family, up_or_down = _WORDS[vertical.lower()]
        new = {self.side(up_or_down), self.side(_WORDS[horizontal.lower()][1])}
        above = family[UP if UP in new else DOWN]
        beside = ("right" if RIGHT in new else "left") + (found["hand"] or "")
        if found["v"]:
            return f"{above}{found['join']}{beside}"
        return f"{beside}{found['join2']}{above}"

    def _compass(self, found: re.Match[str]) -> str:
        family = FAMILIES[9]
        new = {self.side(family.index(found[part].lower())) for part in ("ns", "ew")}
        above, beside = family[UP if UP in new else DOWN], family[RIGHT if RIGHT in new else LEFT]
        return f"{above}{found['join3']}{beside}{found['ern'] or ''}"

    def _side(self, found: re.Match[str]) -> str:
        word = found["side"].lower()
        if word in ("left", "right"):
            start, end = found.span("side")
            text = found.string
            if not (_BEFORE.search(text[:start]) or _AFTER.match(text[end:])):
                raise _CannotTurn
        family, side = _WORDS[word]
        return family[self.side(side)]

    def _axis(self, found: re.Match[str]) -> str:
        word: str = found["axis"].lower()
        if self.turns % 2 == 0:
            return word
        swapped = ("vertical", "horizontal")
        return word.replace(*(swapped if word.startswith("v") else swapped[::-1]))

    def _longer(self, found: re.Match[str]) -> str:
        words: str = found["longer"].lower()
        if self.turns % 2 == 0:
            return words
        return "taller than wide" if words[0] in "wb" else "wider than tall"


_KINDS = [
    "kept",
    "clock",
    "spin",
    "relation",
    "corner",
    "compass",
    "opaque",
    "side",
    "axis",
    "longer",
    "unknown",
]
"""The groups of `_PLACES`, one of which is found."""
