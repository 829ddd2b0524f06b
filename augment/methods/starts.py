"""Starts: the real images that variations begin from, those of the training split alone."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from didgen.augment.seeds import derived_seed
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SourceManifest, SourceRecord

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Starts:
    """A source's training images by name, brought to `size` pixels a side.

    A validation or test image would leak into training through its variations: none is taken.
    """

    size: int
    manifest: SourceManifest

    @cached_property
    def records(self) -> dict[str, SourceRecord]:
        """The training images by name."""
        return {record.key: record for record in self.manifest.select(split="train")}

    @cached_property
    def _of_class(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = defaultdict(list)
        for name, record in self.records.items():
            names[record.label or ""].append(name)
        return names

    def of_class(self, label: str, seed: int) -> list[str]:
        """The images of a class, "" for those without one, in their seeded order."""
        names = self._of_class[label]
        order = np.random.default_rng(derived_seed(seed, "variations", label))
        return [names[place] for place in order.permutation(len(names))]

    def pixels(self, names: Sequence[str]) -> "Tensor":
        """The images (B, 3, size, size) in [-1, 1] of some names."""
        import torch

        from didgen.augment.diffusion.images import load_pixels

        for name in names:
            if name not in self.records:
                raise DidgenError(
                    f"{name or 'An image without a name'} is no training image; variations start "
                    "from the training split."
                )
        return torch.stack(
            [load_pixels(self.manifest, self.records[name], self.size) for name in names]
        )
