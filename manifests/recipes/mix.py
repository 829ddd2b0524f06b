"""The recipe of `didgen mix`."""

from typing import Annotated, Literal

from pydantic import Field

from didgen.manifests.choices import Config
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
    shard_size: Positive = 256
    seed: Seed = 42
