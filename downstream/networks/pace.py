"""Pace: the seconds that a network takes an image on this machine, by a pass that is timed."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

TRAINED = 3
"""Passes forward that a step of training takes an image: one forward, and twice that backward."""

IMAGES = 2
"""Images of a pass that is timed: a batch as large as a recipe's would take minutes on a CPU."""


@torch.inference_mode()
def pass_seconds(network: Callable[[Tensor], object], pixels: Tensor) -> float:
    """Seconds an image of a pass of `pixels` (B, 3, S, S), by the second of two passes."""
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        network(pixels)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
    return seconds / len(pixels)
