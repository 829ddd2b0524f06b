"""Soft copy-paste (after Ghiasi et al., CVPR 2021): the lesion of one real image on another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torchvision.transforms.v2.functional import gaussian_blur

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet, mixed_pixels
from didgen.downstream.data.samplers import Plain

EDGE = 64
"""Pixels of an image's side on which the pasted outline is one pixel soft."""


@dataclass(frozen=True)
class Pasted:
    """Another image's lesion, moved by itself, with a soft edge; both lesions are then the mask."""

    images: int
    probability: float
    aligned: bool = False

    def partner(
        self, rng: np.random.Generator, place: int, done: float
    ) -> tuple[int, float] | None:
        if self.images < 2 or rng.random() >= self.probability:
            return None
        return int((place + 1 + rng.integers(self.images - 1)) % self.images), 1.0

    def mix(self, own: dict[str, Any], other: dict[str, Any], share: float) -> dict[str, Any]:
        if not share:
            return own
        sigma = max(0.5, own["pixels"].shape[-1] / EDGE)
        width = 2 * int(2 * sigma) + 1
        soft = gaussian_blur(other["mask"].float(), [width, width], [sigma, sigma])
        return {
            **own,
            "pixels": mixed_pixels(own["pixels"], other["pixels"], soft),
            "mask": own["mask"] | other["mask"],
        }


class CopyPaste(Use):
    """Real pairs, a share of them with the lesion of another real pair pasted on."""

    name = "copy-paste"
    role = "rival"
    tasks = ("segment",)
    of_run = False
    share = 0.5

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        count = len(given.real)
        mixing = Pasted(count, given.share)
        return TrainingSet(given.real, Plain(given.real_epochs), count, mixing)
