"""Annotation: lesion masks from attention maps (Eq. 7), and how clearly the maps part."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor

from didgen.augment.diffusion.losses import normalise
from didgen.manifests.recipes.sampling import Annotation


@dataclass(frozen=True)
class Annotated:
    """Masks as they were cut from maps, and two figures of each map.

    masks: (B, H, W) boolean; contrast: (B,), the relative span of `contrast`; separability:
    (B,), Otsu's, 0 where the map has no two levels and the mask is empty. Both lie in [0, 1].
    """

    masks: NDArray[np.bool_]
    contrast: NDArray[np.float64]
    separability: NDArray[np.float64]


def flow(cross: Tensor, self_map: Tensor, tau: int, shape: tuple[int, int] | None = None) -> Tensor:
    """Eq. 7: A_CS = (A_S)^tau A_C of the lesion token, as it is.

    cross: (B, h, w), the lesion token's map; self_map: (B, N, N) with rows that sum to 1; shape:
    (H, W) with H W = N, by default a square. Returns (B, H, W). The power is done as matrix-vector
    products.
    """
    height, width = shape or (math.isqrt(self_map.shape[-1]),) * 2
    vector = F.interpolate(cross[:, None], (height, width), mode="bilinear").flatten(1)[..., None]
    for _ in range(tau):
        vector = self_map @ vector
    return vector.reshape(-1, height, width)


def propagate(cross: Tensor, self_map: Tensor, tau: int) -> Tensor:
    """`flow`, min-max normalised to [0, 1]."""
    return normalise(flow(cross, self_map, tau))


def contrast(maps: Tensor) -> Tensor:
    """The relative span (max - min) / max of each map (..., H, W) of no negative values, in [0, 1].

    It is 0 for a map that is constant, and for one with a NaN. Unlike the span of a map that was
    min-max normalised, it says whether the map has any structure.
    """
    top = maps.amax((-2, -1))
    span = (top - maps.amin((-2, -1))) / top.clamp_min(torch.finfo(maps.dtype).tiny)
    return span.nan_to_num(0, 0, 0).clamp(0, 1)


def separability(levels: NDArray[np.floating], upper: NDArray[np.bool_]) -> float:
    """Otsu's measure of two classes: the variance between them as a share of all variance.

    levels: any shape; upper: the pixels of the upper class. Returns a value in [0, 1], 0 where
    one class is empty.
    """
    share, total = float(upper.mean()), float(np.var(levels, dtype=np.float64))
    if not 0 < share < 1 or not total > 0:
        return 0.0
    apart = levels[upper].mean(dtype=np.float64) - levels[~upper].mean(dtype=np.float64)
    return min(share * (1 - share) * float(apart) ** 2 / total, 1.0)


def annotate(
    maps: Tensor,
    size: int | tuple[int, int],
    annotation: Annotation,
    layouts: Tensor | None = None,
) -> Annotated:
    """Eq. 7: Otsu's threshold, then a closing, on maps (B, h, w) enlarged to the image.

    size: the image's height and width, or its side; maps: as `flow` gives them, or normalised; a
    mask does not hang on the scale of its map. A map whose contrast is below `annotation.flat`, and
    one with a NaN, gives an empty mask. Where the annotation says so, the masks are the layouts,
    (B, 1, H, W) in [0, 1], and both figures are still those of the maps.
    """
    height, width = (size, size) if isinstance(size, int) else size
    spans = contrast(maps).double().cpu().numpy()
    # Normalised first: of small values, float32 and a histogram keep too little.
    stretched = normalise(maps.float())[:, None]
    levels = F.interpolate(stretched, (height, width), mode="bicubic")[:, 0].cpu().numpy()
    masks = np.zeros(levels.shape, bool)
    apart = np.zeros(len(levels))
    for place in np.flatnonzero((spans > 0) & (spans >= annotation.flat)):
        lesion = levels[place] > threshold_otsu(levels[place])
        apart[place] = separability(levels[place], lesion)
        masks[place] = _closed(lesion, int(annotation.closing * min(height, width)))
    if annotation.mask == "layout" and layouts is not None:
        shrunk = F.interpolate(layouts, (height, width), mode="area")
        masks = (shrunk[:, 0] > 0.5).cpu().numpy()
    return Annotated(masks, spans, apart)


def binarise(attention: Tensor, size: int, closing: float) -> NDArray[np.bool_]:
    """The masks alone of maps (B, S, S), (B, size, size): True is lesion.

    closing: radius of its disc as a share of the image's side.
    """
    return annotate(attention, size, Annotation(closing=closing)).masks


def _closed(lesion: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """A mask (H, W) after a closing by a disc."""
    grid = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1])
    # Padding keeps the erosion from eating lesions that touch the border.
    padded = np.pad(lesion, radius, mode="edge")
    closed = ndimage.binary_closing(padded, grid <= radius)
    height, width = lesion.shape
    return closed[radius : radius + height, radius : radius + width]
