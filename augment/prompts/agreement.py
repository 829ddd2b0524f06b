"""Agreement: a caption whose lesion has the geometry of a layout."""

from typing import NamedTuple

from didgen.augment.prompts.free_sentence import Place, placed
from didgen.augment.prompts.schema import Asymmetry, Attributes, Position, Shape, Size


class Geometry(NamedTuple):
    """What a mask alone says of its lesion."""

    size: Size
    shape: Shape | None
    position: Position
    asymmetry: Asymmetry | None


class Room(NamedTuple):
    """What a layout leaves to be said: its lesion's geometry, and whether border and skin show."""

    geometry: Geometry
    border: bool
    skin: bool


def agree(attributes: Attributes, layout: Room) -> Attributes:
    """Take the geometry of a lesion from a layout, so that no prompt denies it.

    Nor is a border or skin named that the layout leaves no room for. Other attributes stay as
    they are, and so do all where no lesion is described.
    """
    if attributes.lesion is None:
        return attributes
    found: dict[str, object] = layout.geometry._asdict()
    if not layout.border:
        found["border"] = None
    surround = attributes.surround
    if not layout.skin:
        surround = surround.model_copy(update={"tone": None, "tint": None})
    lesion = attributes.lesion.model_copy(update=found)
    return attributes.model_copy(update={"lesion": lesion, "surround": surround})


def agree_sentence(caption: str, layout: Room) -> str:
    """Like `agree`, for a caption that was not rendered: its geometric words become the layout's.

    Diagnosis, colours, structures and skin stay; a sentence without a word of a lesion and without
    geometric words stays as it is.
    """
    size, shape, position, _ = layout.geometry
    form = " ".join(filter(None, (size, shape)))
    return placed(caption, Place(form, f"at the {position}"), layout.border, layout.skin)
