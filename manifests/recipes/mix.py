"""The recipe of `didgen mix`."""

from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal

from pydantic import Field

from didgen.manifests.choices import Config, Reviewed
from didgen.manifests.recipes.fields import LocalPath, Positive, Section, Seed


class MixRecipe(Section):
    """`didgen mix`: a source and a run in one set, with `ratio` synthetic samples a real one."""

    kind: Literal["mix"] = "mix"
    source: LocalPath
    run: LocalPath
    ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    config: Config | None = None
    drop_copies: bool = False
    pseudonymise: bool = False
    """Whether real images and lesions go by pseudonyms, of a secret in the source's folder."""
    reviewed: Reviewed | None = None
    """`accepted` takes only what the experts accept, with their classes and outlines."""
    shard_size: Positive = 256
    seed: Seed = 42


ADDED: dict[str, Any] = {"reviewed": None}
"""Fields that recipes did not always have, with the value of what was done before: a mix that was
begun without such a field goes on where a recipe says this value or nothing."""


def recorded(recipe: MixRecipe, free: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """The fields of a recipe but those in `free`, as JSON values.

    Without those that are as they were before there was such a field.
    """
    absent = object()
    fields = recipe.model_dump(mode="json", exclude={*free})
    return {name: value for name, value in fields.items() if ADDED.get(name, absent) != value}
