"""Redrawn masks: the closed curves of a reviewer as a lesion mask."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from skimage.draw import polygon2mask

from didgen.manifests.images import decode, encoded
from didgen.manifests.reviews.record import Curves


def mask_of(curves: Curves, height: int, width: int) -> np.ndarray:
    """The mask (height, width), boolean: pixels whose centre lies within any of the curves."""
    mask = np.zeros((height, width), bool)
    for curve in curves:
        mask |= polygon2mask((height, width), _rows_and_columns(curve, height, width))
    return mask


def _rows_and_columns(curve: Sequence[tuple[float, float]], height: int, width: int) -> np.ndarray:
    """Points (N, 2) in units of pixels, of which the first has its centre at 0."""
    points = np.asarray(curve, float)[:, ::-1]
    return points * (height, width) - 0.5


def redrawn_mask(curves: Curves, image: bytes, path: Path) -> bytes:
    """The mask of curves as a PNG of the size of an image file."""
    width, height = decode(image, path).size
    return encoded(mask_of(curves, height, width).astype(np.uint8) * 255, "PNG")
