"""The sentence: a caption's schema rendered as one clinical sentence, and parsed back.

Notable choices:
- A caption that does not parse is a free sentence. `parse` says why, so that a run can count them.
- The form only grows: new clauses are optional, so that captions of older versions still parse.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from didgen.augment.prompts.schema import (
    MARKINGS,
    Asymmetry,
    Attributes,
    Border,
    Color,
    Hair,
    Position,
    Shape,
    Size,
    Structure,
    Tint,
    Tone,
)
from didgen.manifests.errors import DidgenError

Word = TypeVar("Word", bound=StrEnum)


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
        clauses += lesion.structures
    if surround.tone or surround.tint:
        clauses.append(" ".join(filter(None, (surround.tone, surround.tint, "skin"))))
    if surround.hair is not Hair.NONE:
        clauses.append(f"{surround.hair} hair")
    clauses += [words for name, words in MARKINGS.items() if getattr(surround, name)]
    return ", ".join(clauses) + "."


@dataclass(frozen=True)
class Free:
    """A caption that `render` did not write, and the first thing in it that the form has not."""

    reason: str


def parse(caption: str) -> Attributes | Free:
    """Read back the attributes of a caption that `render` wrote; any other sentence is `Free`."""
    if not caption.endswith("."):
        return Free("no full stop at the end")
    clauses = _Clauses(caption.removesuffix(".").split(", "))
    # The words of a class may read like a lesion: then it is the second clause that is one.
    diagnosis = clauses.take() if _is_lesion(clauses.left[1:2]) else None
    if not _is_lesion(clauses.left):
        return Free("no clause on a lesion in the form's words")
    lesion = _lesion(clauses)
    surround = _surround(clauses)
    if clauses.left:
        return Free("a clause that the form has not, or not there")
    try:
        return Attributes.model_validate(
            {"diagnosis": diagnosis, "lesion": lesion, "surround": surround}
        )
    except ValidationError:
        return Free("a diagnosis or a list that the form does not allow")


class _Clauses:
    """The clauses of a caption that are not read yet; each method takes the next one if it fits."""

    def __init__(self, clauses: list[str]) -> None:
        self.left = clauses

    def take(self) -> str:
        """The next clause, whatever it says."""
        return self.left.pop(0)

    def words(self, words: str) -> bool:
        """Whether the next clause is `words`."""
        fits = self.left[:1] == [words]
        if fits:
            self.take()
        return fits

    def word(self, vocabulary: type[Word], noun: str = "") -> Word | None:
        """The word of a vocabulary that is the next clause, before a noun if one is given."""
        found = next((w for w in vocabulary if self.left[:1] == [f"{w} {noun}".rstrip()]), None)
        if found is not None:
            self.take()
        return found


_LESION = re.compile(
    r"a (?:(?P<size>[^ ]+) (?P<form>.+) )?lesion(?(size) at the (?P<position>[a-z ]+))"
)


def _is_lesion(clauses: Sequence[str]) -> bool:
    """Whether the first of some clauses is one on a lesion in the form's own words."""
    return bool(clauses) and _core(clauses[0]) is not None


def _core(clause: str) -> dict[str, object] | None:
    """Size, shape, colours and position of a clause; empty of "a lesion", None of any other."""
    match = _LESION.fullmatch(clause)
    if match is None:
        return None
    if match["size"] is None:
        return {}
    form: str = match["form"]
    shape = next((s for s in Shape if form.startswith(f"{s} ")), None)
    colors = form.removeprefix(f"{shape} " if shape else "").split(" and ")
    known = (
        match["size"] in list(Size)
        and match["position"] in list(Position)
        and all(color in list(Color) for color in colors)
    )
    if not known:
        return None
    return {
        "size": match["size"],
        "shape": shape,
        "colors": colors,
        "position": match["position"],
    }


def _lesion(clauses: _Clauses) -> dict[str, object] | None:
    """The fields of `Lesion` in the next clauses; None where "a lesion" is all that is said."""
    core = _core(clauses.take())
    if not core:
        return None
    core["asymmetry"] = clauses.word(Asymmetry, "outline")
    core["border"] = clauses.word(Border, "border")
    structures = []
    while (structure := clauses.word(Structure)) is not None:
        structures.append(structure)
    return core | {"structures": structures}


def _surround(clauses: _Clauses) -> dict[str, object]:
    """The fields of `Surround` in the next clauses."""
    skin: dict[str, object] = {"tone": None, "tint": None}
    if clauses.left and clauses.left[0].endswith(" skin"):
        said = clauses.left[0].removesuffix(" skin")
        for tone in (None, *Tone):
            for tint in (None, *Tint):
                if said == " ".join(filter(None, (tone, tint))):
                    skin = {"tone": tone, "tint": tint}
        if any(skin.values()):
            clauses.take()
    hair = next((h for h in (Hair.SOME, Hair.DENSE) if clauses.words(f"{h} hair")), Hair.NONE)
    return skin | {"hair": hair} | {n: clauses.words(words) for n, words in MARKINGS.items()}


def free_reasons(captions: Iterable[str]) -> dict[str, str]:
    """Those captions that are free sentences, each with the reason why `parse` refused it."""
    read = {caption: parse(caption) for caption in captions}
    return {caption: found.reason for caption, found in read.items() if isinstance(found, Free)}


def turn(attributes: Attributes, turns: int, mirrored: bool) -> Attributes:
    """What is said of the image turned by quarters (counter-clockwise) and then mirrored."""
    if attributes.lesion is None:
        return attributes
    # The members of Position are the 3 x 3 cells of the frame, row by row.
    cells = list(Position)
    row, column = divmod(cells.index(attributes.lesion.position), 3)
    for _ in range(turns % 4):
        row, column = 2 - column, row
    if mirrored:
        column = 2 - column
    lesion = attributes.lesion.model_copy(update={"position": cells[3 * row + column]})
    return attributes.model_copy(update={"lesion": lesion})


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
