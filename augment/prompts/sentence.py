"""The sentence: a caption's schema rendered as one clinical sentence, and parsed back."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from pydantic import ValidationError

from didgen.augment.prompts.prompt import clean
from didgen.augment.prompts.schema import (
    MARKINGS,
    Asymmetry,
    Attributes,
    Border,
    Color,
    Hair,
    Lesion,
    Position,
    Shape,
    Size,
    Tint,
    Tone,
)
from didgen.manifests.errors import DidgenError


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
