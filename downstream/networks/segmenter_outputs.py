"""What a segmentation net gives while it trains."""

from typing import NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """Logits of masks, the main one first, and of boundaries.

    masks: each (B, 1, S, S). boundaries: each (B, 1, H, W) at a scale of its own, for the maps
    of where a mask's outline runs; most networks give none.
    """

    masks: tuple[Tensor, ...]
    boundaries: tuple[Tensor, ...] = ()
