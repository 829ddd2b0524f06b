"""Mask gates: what is measured of a mask that no person drew, and whether it is kept."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FLAT = "flat attention"
"""What the reason begins with where Otsu's threshold found no two levels."""


class MaskBounds(Protocol):
    """The bounds of a mask, as the `gates` of a recipe have them."""

    @property
    def mask_area(self) -> tuple[float, float]: ...
    @property
    def components(self) -> int | None: ...
    @property
    def attention_contrast(self) -> float: ...
    @property
    def separability(self) -> float: ...


def mask_scores(mask: NDArray[np.bool_]) -> dict[str, float]:
    """`mask_area`, a share of the image, and `components`, connected over edges and corners.

    mask: (H, W), True is lesion.
    """
    return {
        "mask_area": round(float(mask.mean()), 4),
        "components": int(ndimage.label(mask, np.ones((3, 3)))[1]),
    }


def mask_fault(scores: Mapping[str, float], bounds: MaskBounds) -> str | None:
    """Why a mask with these scores is stopped, in half a sentence; None if it is not."""
    if reason := _unclear(scores, bounds):
        return reason
    area, (least, most) = scores["mask_area"], bounds.mask_area
    if not (0 < area < 1 and least <= area <= most):
        return f"the annotated mask covers {area:.2%} of the image"
    if bounds.components is not None and scores["components"] > bounds.components:
        return f"the annotated mask has {scores['components']} components"
    return None


def _unclear(scores: Mapping[str, float], bounds: MaskBounds) -> str | None:
    """Why the attention that a mask was cut from is no ground for one, if a method tells of it."""
    if "separability" not in scores:
        return None
    span, apart = scores["attention_contrast"], scores["separability"]
    if apart == 0:
        return f"{FLAT}: its relative span is {span:.2g}, in which Otsu finds no two levels"
    if span < bounds.attention_contrast:
        return f"the attention to the lesion has a relative span of {span:.3f}"
    if apart < bounds.separability:
        return f"the annotated mask has a separability of {apart:.3f}"
    return None
