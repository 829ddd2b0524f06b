"""Layouts: the lesion masks that pairs are guided by, drawn as shapes or taken from real masks."""

from dataclasses import dataclass, field

import numpy as np

from didgen.augment.diffusion.images import load_mask
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.fields import DRAWN
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from didgen.manifests.views.layouts import draw_layout


@dataclass(frozen=True)
class Layouts:
    """Layout masks by name, for images of `size` pixels; only masks of the training split.

    A layout from validation or test data would leak it into training, so none is offered.
    """

    size: int
    manifest: SourceManifest | None = None
    records: dict[str, SourceRecord] = field(init=False)

    def __post_init__(self) -> None:
        chosen = self.manifest.select(split="train", masked=True) if self.manifest else []
        object.__setattr__(self, "records", {record.key: record for record in chosen})

    def mask(self, name: str, seed: int) -> np.ndarray:
        """The layout `name` of a sample with the given seed, (size, size) boolean."""
        if name == DRAWN:
            return draw_layout(np.random.default_rng(seed), self.size)
        if self.manifest is None or name not in self.records:
            raise DidgenError(
                f"{name} is no training image with a mask; layouts come from the training split."
            )
        return load_mask(self.manifest, self.records[name], self.size)[0].numpy() > 0.5
