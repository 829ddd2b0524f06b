"""A section of a recipe: the base of all its models, and the kinds of values that fields have."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from didgen.manifests.files import local

DRAWN = "drawn"
"""Name of a layout that is drawn from its sample's seed instead of taken from a source."""

FOREIGN = "foreign"
"""Name of the layout of a pair that another generator made: what guided it is not known."""

NAMELESS = frozenset({"", DRAWN, FOREIGN})
"""Layouts that are the mask of no real image that is known."""

Positive = Annotated[int, Field(ge=1)]

Count = Annotated[int, Field(ge=0)]

Share = Annotated[float, Field(ge=0, le=1)]

Seed = Annotated[int, Field(ge=0, lt=2**31)]

Rate = Annotated[float, Field(gt=0)]

Width = Annotated[int, Field(ge=16, multiple_of=16)]

Precision = Literal["no", "bf16", "fp16"]


LocalPath = Annotated[Path, BeforeValidator(local)]


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
