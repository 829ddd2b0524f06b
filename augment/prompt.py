"""Prompts: the schema of a caption, its one sentence, and the prompt that the model reads."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from manifests.errors import DidgenError
from manifests.records import CLASS_NAMES

LESION = "<lesion>"
SKIN = "<skin>"
PREFIX = f"An image of {LESION} on {SKIN}. "
"""The P-Tokens in their fixed frame; every prompt begins with it (DiDGen, section 2)."""

TOKEN_LIMIT = 77
"""Positions of a CLIP text encoder, start and end token included."""

MAX_LENGTH = 1000
"""Characters of the longest caption that a source record holds."""

MAX_COLORS = 3


class Size(StrEnum):
    """How much of the frame the lesion covers."""

    TINY = "tiny"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"
    FRAME_FILLING = "frame-filling"


class Shape(StrEnum):
    """The lesion's outline."""

    ROUND = "round"
    OVAL = "oval"
    IRREGULAR = "irregular"


class Asymmetry(StrEnum):
    """Whether the outline has two mirror axes at right angles, as the ABCD rule asks."""

    SYMMETRIC = "symmetric"
    ASYMMETRIC = "asymmetric"


class Position(StrEnum):
    """Where in the frame the lesion's centroid lies, row by row."""

    UPPER_LEFT = "upper left"
    TOP = "top"
    UPPER_RIGHT = "upper right"
    LEFT = "left"
    CENTER = "center"
    RIGHT = "right"
    LOWER_LEFT = "lower left"
    BOTTOM = "bottom"
    LOWER_RIGHT = "lower right"


class Border(StrEnum):
    """How abruptly the lesion ends."""

    SHARP = "sharp"
    BLURRED = "blurred"


class Color(StrEnum):
    """The colours of the ABCD rule of dermoscopy, and the three that vessels and keratin add."""

    BLACK = "black"
    DARK_BROWN = "dark brown"
    LIGHT_BROWN = "light brown"
    BLUE_GRAY = "blue-gray"
    RED = "red"
    WHITE = "white"
    TAN = "tan"
    PINK = "pink"
    YELLOW = "yellow"


class Tone(StrEnum):
    """Skin tone, lightest first: the six classes of the individual typology angle."""

    VERY_LIGHT = "very light"
    LIGHT = "light"
    INTERMEDIATE = "intermediate"
    TAN = "tan"
    BROWN = "brown"
    DARK = "dark"


class Tint(StrEnum):
    """The cast that skin and illumination together give to the picture."""

    BEIGE = "beige"
    PINK = "pink"
    RED = "red"
    VIOLET = "violet"


class Hair(StrEnum):
    """How much hair lies over the picture."""

    NONE = "no"
    SOME = "some"
    DENSE = "dense"


def _distinct(colors: tuple[Color, ...]) -> tuple[Color, ...]:
    if len(set(colors)) < len(colors):
        raise ValueError("names a colour twice")
    return colors


Diagnosis = Annotated[str, StringConstraints(pattern=r"^[^\s,<>]+( [^\s,<>]+)*$", max_length=200)]
"""The words of a class: no comma, so that the clauses of a caption can be told apart."""


class Lesion(BaseModel):
    """What is seen of a lesion, colours by falling share; None is what cannot be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size
    shape: Shape | None
    colors: Annotated[
        tuple[Color, ...], Field(min_length=1, max_length=MAX_COLORS), AfterValidator(_distinct)
    ]
    position: Position
    asymmetry: Asymmetry | None
    border: Border | None


class Surround(BaseModel):
    """What is seen around a lesion; no tone and no tint where too little skin is in frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tone: Tone | None
    tint: Tint | None
    hair: Hair
    dark_corners: bool
    ruler: bool
    ink: bool
    gel_bubbles: bool


class Attributes(BaseModel):
    """The closed schema behind a caption; no label, no diagnosis, and no mask, no lesion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    diagnosis: Diagnosis | None
    lesion: Lesion | None
    surround: Surround


MARKINGS = {
    "dark_corners": "dark corners",
    "ruler": "ruler marks",
    "ink": "ink",
    "gel_bubbles": "gel bubbles",
}
"""What may lie in the picture besides skin, lesion and hair, and how a caption says it."""


def render(attributes: Attributes) -> str:
    """Say attributes in one sentence of fixed order, most important first; `parse` reads it back.

    What is absent is not mentioned: "melanoma, a medium oval dark brown and black lesion at the
    center, sharp border, light pink skin, some hair, dark corners."
    """
    lesion, surround = attributes.lesion, attributes.surround
    clauses = [attributes.diagnosis] if attributes.diagnosis else []
    if lesion is None:
        clauses.append("a lesion")
    else:
        colors = " and ".join(lesion.colors)
        form = " ".join(filter(None, (lesion.size, lesion.shape, colors)))
        clauses.append(f"a {form} lesion at the {lesion.position}")
        if lesion.asymmetry:
            clauses.append(f"{lesion.asymmetry} outline")
        if lesion.border:
            clauses.append(f"{lesion.border} border")
    if surround.tone or surround.tint:
        clauses.append(" ".join(filter(None, (surround.tone, surround.tint, "skin"))))
    if surround.hair is not Hair.NONE:
        clauses.append(f"{surround.hair} hair")
    clauses += [words for name, words in MARKINGS.items() if getattr(surround, name)]
    return ", ".join(clauses) + "."


def _any_of(vocabulary: type[StrEnum]) -> str:
    return "|".join(re.escape(word) for word in vocabulary)


GEOMETRY = re.compile(
    r"\b(?:tiny|small|little|minute|medium|moderate|large|big|huge|giant|massive|extensive|frame"
    r"|fill|cover|occup|span|size|mm|cm|millimet|diameter|wide|round|oval|ovoid|circular|ellip"
    r"|irregular|shape|elongated|linear|annular|outline|a?symmetr|center|centre|centr|middle|left"
    r"|right|upper|lower|top|bottom|corner|edge|side|quadrant|half|above|below|eccentric|off)",
    re.IGNORECASE,
)
"""Beginnings of words by which a clause of a free caption may contradict a layout; rather more
than fewer."""

CLAUSE_END = re.compile(r"[,;:.!?]\s+|\s+(?:with|on|against|surrounded by)\s+")

_SENTENCE = re.compile(
    r"(?:(?P<diagnosis>[^,]+), )?"
    rf"a (?:(?P<size>{_any_of(Size)}) (?:(?P<shape>{_any_of(Shape)}) )?"
    rf"(?P<colors>(?:{_any_of(Color)})(?: and (?:{_any_of(Color)}))*) )?lesion"
    rf"(?(size) at the (?P<position>{_any_of(Position)})"
    rf"(?:, (?P<asymmetry>{_any_of(Asymmetry)}) outline)?"
    rf"(?:, (?P<border>{_any_of(Border)}) border)?)"
    rf"(?:, (?:(?P<tone>{_any_of(Tone)}) )?(?:(?P<tint>{_any_of(Tint)}) )?(?<!, )skin)?"
    rf"(?:, (?P<hair>{Hair.SOME}|{Hair.DENSE}) hair)?"
    + "".join(rf"(?P<{name}>, {words})?" for name, words in MARKINGS.items())
    + r"\."
)


def parse(caption: str) -> Attributes | None:
    """Read back the attributes of a caption that `render` wrote; None for any other sentence."""
    match = _SENTENCE.fullmatch(caption)
    if match is None:
        return None
    said = match.groupdict()
    lesion: dict[str, object] = {name: said[name] for name in Lesion.model_fields}
    lesion["colors"] = (said["colors"] or "").split(" and ")
    surround = {
        "tone": said["tone"],
        "tint": said["tint"],
        "hair": said["hair"] or Hair.NONE,
        **{name: said[name] is not None for name in MARKINGS},
    }
    try:
        return Attributes.model_validate(
            {
                "diagnosis": said["diagnosis"],
                "lesion": lesion if said["size"] else None,
                "surround": surround,
            }
        )
    except ValidationError:
        return None


def replace_geometry(caption: str, clause: str) -> str:
    """Put `clause` for the clauses of a free caption that speak of size, shape or place.

    The first of them is replaced and the others go; a caption that has none stays as it is.
    """
    clauses = CLAUSE_END.split(clean(caption).rstrip(".!?,;: "))
    placed = [GEOMETRY.search(words) is not None for words in clauses]
    if not any(placed):
        return caption
    first = placed.index(True)
    kept = [words for n, words in enumerate(clauses) if n == first or not placed[n]]
    kept[first] = clause
    return ", ".join(kept) + "."


def turn(caption: str, turns: int, mirrored: bool) -> str:
    """The caption of the image turned by quarters (counter-clockwise) and then mirrored.

    Only the position of a caption that `render` wrote changes; any other caption is returned as
    it is, since where it speaks of a place cannot be known.
    """
    attributes = parse(caption)
    if attributes is None or attributes.lesion is None:
        return caption
    # The members of Position are the 3 x 3 cells of the frame, row by row.
    cells = list(Position)
    row, column = divmod(cells.index(attributes.lesion.position), 3)
    for _ in range(turns % 4):
        row, column = 2 - column, row
    if mirrored:
        column = 2 - column
    lesion = attributes.lesion.model_copy(update={"position": cells[3 * row + column]})
    return render(attributes.model_copy(update={"lesion": lesion}))


def thin(caption: str, rng: np.random.Generator) -> str:
    """Drop clauses of a caption at random, but the first: from none to all of them alike."""
    first, *others = caption.rstrip(".").split(", ")
    share = rng.random()
    return ", ".join([first, *(clause for clause in others if rng.random() < share)]) + "."


def recombine(
    attributes_by_class: Mapping[str, Sequence[Attributes]],
    label: str,
    rng: np.random.Generator,
) -> Attributes:
    """Draw new attributes of a class: one record's lesion, another's skin, hair and corners.

    What belongs together stays together, so joint frequencies within the lesion and within its
    surround are those observed; but a lesion that leaves no skin to be seen keeps none. A class
    without attributes is a `DidgenError`.
    """
    observed = attributes_by_class.get(label, ())
    if not observed:
        raise DidgenError(
            f"No caption of the class {label} is known; run `didgen caption` on the manifest."
        )
    inner, outer = (observed[int(index)] for index in rng.integers(len(observed), size=2))
    surround = outer.surround
    filled = inner.lesion is not None and inner.lesion.size is Size.FRAME_FILLING
    if filled and inner.surround.tone is None:
        surround = surround.model_copy(update={"tone": None, "tint": None})
    return inner.model_copy(update={"surround": surround})


def clean(text: str) -> str:
    """Make any text safe as a caption: one line, no control characters, `MAX_LENGTH` at most.

    Angle brackets go too, so that no text can hold a P-Token or another special token. Whole
    words are dropped from the end of a text that is too long.
    """
    visible = "".join(
        " " if character in "<>" or character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    folded = " ".join(visible.split())
    return folded if len(folded) <= MAX_LENGTH else folded[: MAX_LENGTH + 1].rpartition(" ")[0]


def diagnosis(label: str | None) -> str | None:
    """The words of a class, without the commas that part the clauses of a caption."""
    if label is None:
        return None
    return clean(CLASS_NAMES.get(label, label).replace(",", " ")).lower() or None


def compose(caption: str | None) -> str:
    """The full prompt: the P-Tokens in `PREFIX`, once each, then the cleaned caption if any."""
    return (PREFIX + clean(caption or "")).rstrip()


def fit(caption: str, count_tokens: Callable[[str], int], limit: int = TOKEN_LIMIT) -> str:
    """Shorten a caption until its prompt takes `limit` tokens at most; return the cleaned caption.

    Trailing clauses go first, then trailing words, never a part of a word; the result may be
    empty. `count_tokens` counts all positions of a prompt, start and end token included. A limit
    that the bare prefix exceeds is a `DidgenError`.
    """
    for shorter in _shortened(clean(caption)):
        if count_tokens(compose(shorter)) <= limit:
            return shorter
    raise DidgenError(
        f"The prompt's beginning {PREFIX.rstrip()!r} alone exceeds the text encoder's limit of "
        f"{limit} tokens; add the P-Tokens to its tokenizer or choose another model."
    )


def _shortened(caption: str) -> Iterator[str]:
    """A caption, then without its last clause, and so on; then the first clause word by word."""
    yield caption
    end = "." if caption.endswith(".") else ""
    words = caption.split()
    clause_ends = [n for n, word in enumerate(words, 1) if word[-1] in ",;:."][:-1]
    first = clause_ends[0] if clause_ends else len(words)
    for count in [*reversed(clause_ends), *range(first - 1, 0, -1)]:
        yield " ".join(words[:count]).rstrip(",;:. ") + end
    yield ""
