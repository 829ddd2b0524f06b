"""Annotation: lesion masks from attention maps (Eq. 7)."""

import numpy as np
import torch.nn.functional as F
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor

from augment.losses import normalise


def propagate(cross: Tensor, self_map: Tensor, power: int = 4) -> Tensor:
    """Eq. 7: A_CS = (A_S)^power A_C of the lesion token, min-max normalised.

    cross: (B, H, W), the lesion token's map; self_map: (B, N, N) with rows that sum to 1.
    Returns (B, S, S) in [0, 1] with S S = N. The power is done as matrix-vector products.
    """
    side = int(self_map.shape[-1] ** 0.5)
    vector = F.interpolate(cross[:, None], (side, side), mode="bilinear").flatten(1)[..., None]
    for _ in range(power):
        vector = self_map @ vector
    return normalise(vector.reshape(-1, side, side))


def binarise(attention: Tensor, size: int) -> np.ndarray:
    """Otsu's threshold and a closing, on maps (B, S, S) enlarged to the image: (B, size, size).

    Returns booleans; True is lesion. A map without contrast, or with a NaN, gives an empty mask.
    """
    enlarged = F.interpolate(attention[:, None].float(), (size, size), mode="bicubic")[:, 0]
    # A disc a little wider than the map's own pixel closes what its grid tears open.
    radius = max(1, size // 48)
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
        masks.append(closed[radius:-radius, radius:-radius])
    return np.stack(masks)
