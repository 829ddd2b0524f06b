"""Annotation: lesion masks from attention maps (Eq. 7)."""

import numpy as np
import torch.nn.functional as F
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor

from didgen.augment.diffusion.losses import normalise


def propagate(cross: Tensor, self_map: Tensor, tau: int) -> Tensor:
    """Eq. 7: A_CS = (A_S)^tau A_C of the lesion token, min-max normalised.

    cross: (B, H, W), the lesion token's map; self_map: (B, N, N) with rows that sum to 1.
    Returns (B, S, S) in [0, 1] with S S = N. The power is done as matrix-vector products.
    """
    side = int(self_map.shape[-1] ** 0.5)
    vector = F.interpolate(cross[:, None], (side, side), mode="bilinear").flatten(1)[..., None]
    for _ in range(tau):
        vector = self_map @ vector
    return normalise(vector.reshape(-1, side, side))


def binarise(attention: Tensor, size: int, closing: float) -> np.ndarray:
    """Eq. 7: Otsu's threshold, then a closing, on maps (B, S, S) enlarged to the image.

    closing: radius of its disc as a share of the image's side. Returns booleans (B, size, size);
    True is lesion. A map without contrast, or with a NaN, gives an empty mask.
    """
    enlarged = F.interpolate(attention[:, None].float(), (size, size), mode="bicubic")[:, 0]
    radius = int(closing * size)
    grid = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1])
    masks = []
    for level in enlarged.cpu().numpy():
        # Enlarging a constant map leaves rounding errors, which Otsu's method would part; the
        # spread of a map with a NaN is no number and passes no comparison.
        if not np.ptp(level) >= 1e-6:
            masks.append(np.zeros(level.shape, bool))
            continue
        lesion = level > threshold_otsu(level)
        # Padding keeps the erosion from eating lesions that touch the border.
        padded = np.pad(lesion, radius, mode="edge")
        closed = ndimage.binary_closing(padded, grid <= radius)
        masks.append(closed[radius : radius + size, radius : radius + size])
    return np.stack(masks)
