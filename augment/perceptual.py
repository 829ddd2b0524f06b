"""Perceptual distance: what a network of timm sees of two images, layer by layer."""

import torch.nn.functional as F
from torch import Tensor

from augment.observer import Observer
from manifests.recipe import Perceptual


class PerceptualDistance(Observer):
    """Eq. 1 of Zhang et al. (CVPR 2018) with all channels weighing alike: LPIPS without its heads.

    The features of each stage become unit vectors at every place; the distance is their squared
    difference, summed over channels and stages, averaged over places. forward takes two batches
    (B, 3, H, W) in [-1, 1] and returns (B,), from 0 to 4 for each stage.
    """

    def __init__(self, asked: Perceptual) -> None:
        stages = f"the stages {', '.join(map(str, asked.stages))}"
        super().__init__(asked, "perceptual", stages, features_only=True, out_indices=asked.stages)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        distances = [
            (left - right).square().sum(1).mean((1, 2))
            for left, right in zip(self._features(one), self._features(other), strict=True)
        ]
        return sum(distances[1:], distances[0])

    def _features(self, images: Tensor) -> list[Tensor]:
        return [F.normalize(one.float(), dim=1, eps=1e-3) for one in self.observe(images)]
