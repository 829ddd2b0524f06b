"""Mixup (Zhang et al., ICLR 2018): two real images and their labels in one proportion."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet, mixed_pixels
from didgen.downstream.data.samplers import Plain

ALPHA = 0.2
"""Of the beta distribution that shares come from: the paper's value for ImageNet."""


@dataclass(frozen=True)
class MixedUp:
    """Any image with any other, each augmented by itself."""

    images: int
    aligned: bool = False

    def partner(
        self, rng: np.random.Generator, place: int, done: float
    ) -> tuple[int, float] | None:
        return int(rng.integers(self.images)), float(rng.beta(ALPHA, ALPHA))

    def mix(self, own: dict[str, Any], other: dict[str, Any], share: float) -> dict[str, Any]:
        return {
            **own,
            "pixels": mixed_pixels(own["pixels"], other["pixels"], share),
            "other_label": other["label"],
            "other_share": torch.tensor(share, dtype=torch.float32),
        }


class Mixup(Use):
    """Real images mixed with one another."""

    name = "mixup"
    role = "rival"
    tasks = ("classify",)
    of_run = False

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        count = len(given.real)
        return TrainingSet(given.real, Plain(given.real_epochs), count, MixedUp(count))
