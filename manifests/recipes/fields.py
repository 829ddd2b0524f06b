"""A section of a recipe: the base of all its models, and the kinds of values that fields have."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from didgen.manifests.files import local

DRAWN = "drawn"
"""Name of a layout that is drawn from its sample's seed instead of taken from a source."""

FOREIGN = "foreign"
"""Name of the layout of a pair that another generator made: what guided it is not known."""

NAMELESS = frozenset({"", DRAWN, FOREIGN})
"""Layouts that are the mask of no real image that is known."""

MOST = 2**31 - 1
"""The largest count: sums of several still fit where sizes are held."""

Positive = Annotated[int, Field(ge=1, le=MOST)]

Count = Annotated[int, Field(ge=0, le=MOST)]

Share = Annotated[float, Field(ge=0, le=1)]

Seed = Annotated[int, Field(ge=0, lt=2**31)]

Rate = Annotated[float, Field(gt=0)]

Width = Annotated[int, Field(ge=16, multiple_of=16)]

Precision = Literal["no", "bf16", "fp16"]


LocalPath = Annotated[Path, BeforeValidator(local)]


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is wanted: pydantic would read 1 and 0."""
        parts = value.values() if isinstance(value, Mapping) else value
        flags = isinstance(value, bool) or (
            isinstance(parts, Iterable) and any(isinstance(part, bool) for part in parts)
        )
        kinds = {*_kinds(cls.model_fields[str(info.field_name)].annotation)}
        if flags and kinds & {int, float} and kinds <= NO_FLAGS:
            # Not a ValueError: the sentence is to say what may stand there.
            raise AssertionError("true or false is no number")
        return value


NO_FLAGS = {int, float, str, Path, type(None)}
"""Kinds of values of which none is true or false."""


def _kinds(annotation: Any) -> Iterator[Any]:
    """The kinds of a value and of what it holds, each by itself and without its bounds."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _kinds(inner[0])
    elif origin is Literal or annotation is Ellipsis:
        yield str
    elif inner:
        for part in inner:
            yield from _kinds(part)
    else:
        yield annotation


class Subset(Section):
    """The `k` real images that a benchmark's scale keeps, by the seeds of it and a training."""

    k: Positive
    seed: Seed | Annotated[tuple[Seed, ...], Field(min_length=1)] = 0
