"""The schema of a caption: what is said of a lesion and of the skin around it."""

from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

T = TypeVar("T", bound=StrEnum)

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


class Structure(StrEnum):
    """The dermoscopic structures of the pattern analysis that a language model may name.

    Terms of the third consensus of the International Dermoscopy Society (Kittler et al., 2016).
    """

    PIGMENT_NETWORK = "pigment network"
    DOTS = "dots"
    GLOBULES = "globules"
    STREAKS = "streaks"
    BLUE_WHITE_VEIL = "blue-white veil"
    VESSELS = "vessels"
    REGRESSION = "regression"


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


def _distinct(words: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(words)) < len(words):
        raise ValueError("names a thing twice")
    return words


Diagnosis = Annotated[str, StringConstraints(pattern=r"^[^\s,<>]+( [^\s,<>]+)*$", max_length=200)]
"""The words of a class: no comma, so that the clauses of a caption can be told apart."""


class Lesion(BaseModel):
    """What is seen of a lesion, colours by falling share; None is what cannot be told.

    `structures` come from language models alone: a measure claims none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size
    shape: Shape | None
    colors: Annotated[
        tuple[Color, ...], Field(min_length=1, max_length=MAX_COLORS), AfterValidator(_distinct)
    ]
    position: Position
    asymmetry: Asymmetry | None
    border: Border | None
    structures: Annotated[tuple[Structure, ...], AfterValidator(_distinct)]


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
