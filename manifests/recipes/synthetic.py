"""The recipe of `didgen import synthetic`, as its run records it."""

from typing import Literal

from didgen.manifests.recipes.fields import LocalPath, Positive, Section


class SyntheticRecipe(Section):
    """Samples of another generator, held against the held-out images of a source."""

    kind: Literal["synthetic"] = "synthetic"
    images: LocalPath
    source: LocalPath
    licence: str
    labels: LocalPath | None = None
    masks: LocalPath | None = None
    generator: str | None = None
    """What made them, in words; the name of their folder where nobody says."""
    shard_size: Positive = 256
