"""The method's losses: pure functions on attention maps and region masks."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from didgen.manifests.recipes.sampling import Normaliser


def region_masks(lesion: Tensor, size: int | tuple[int, int]) -> Tensor:
    """M_l and M_s = 1 - M_l of Eq. 3, reduced by area.

    lesion: (B, 1, H, W) in [0, 1]; size: height and width (h, w) of the maps, or their side.
    Returns (B, 2, h, w) in [0, 1], lesion first.
    """
    small = F.adaptive_avg_pool2d(lesion.float(), size)
    return torch.cat([small, 1 - small], 1)


def normalise(maps: Tensor) -> Tensor:
    """Min-max normalisation of each map (..., H, W) to [0, 1]; a constant map becomes zeros."""
    low = maps.amin((-2, -1), keepdim=True)
    span = maps.amax((-2, -1), keepdim=True) - low
    return (maps - low) / span.clamp_min(1e-8)


def attention_loss(
    maps: Tensor,
    masks: Tensor,
    *,
    normalised: bool = True,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Eq. 3: L_attn = 1/2 sum over {l, s} of |A_C - M|^2, one value a sample.

    maps, masks: (B, 2, H, W) in [0, 1], lesion first. Returns (B,). The paper prints a squared
    norm, the sum over a map's pixels; the mean over them does not depend on the maps' side.
    """
    if maps.shape != masks.shape:
        raise ValueError(f"maps {tuple(maps.shape)} and masks {tuple(masks.shape)} differ in shape")
    if normalised:
        maps = normalise(maps)
    squares = (maps - masks).square()
    reduced = squares.mean((-2, -1)) if reduction == "mean" else squares.sum((-2, -1))
    return 0.5 * reduced.sum(-1)


def layout_loss(maps: Tensor, masks: Tensor, sigma: float, *, normalised: bool = True) -> Tensor:
    """L_CA: Eq. 3 on Gaussian-smoothed maps, one value a sample.

    maps, masks: (B, 2, H, W); sigma in map pixels, 0 for no smoothing; what of the Gaussian lies
    two sigma or a whole map away is cut off. Returns (B,).
    """
    if sigma > 0:
        side = 2 * min(math.ceil(2 * sigma), min(maps.shape[-2:]) - 1) + 1
        maps = gaussian_blur(maps, kernel_size=[side, side], sigma=[sigma, sigma])
    return attention_loss(maps, masks, normalised=normalised)


def leak_loss(attended: Tensor, masks: Tensor, normaliser: Normaliser = "region") -> Tensor:
    """Eq. 5: L_SA, the self-attention of each region that leaves it, one value a sample.

    attended: A_S applied to the region masks, (B, N, 2) in [0, 1]; masks: (B, 2, H, W) with
    H W = N, lesion first. Returns (B,): half the sum over both regions of the attention mass that
    a region's pixels send outside it, divided by the number of these pixels (`region`: a mean, in
    [0, 1]), or of those outside, as the paper prints it. A region that is empty, or is the whole
    image, leaks nothing.
    """
    regions = masks.flatten(2).transpose(1, 2)
    leaving, size = (regions * (1 - attended)).sum(1), regions.sum(1)
    if normaliser == "paper":
        outside = regions.shape[1] - size
        return torch.where(outside > 0, leaving / outside.clamp_min(1e-8), 0).mean(-1)
    return (leaving / size.clamp_min(1e-8)).mean(-1)
