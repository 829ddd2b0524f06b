"""Where variations begin: real images' latents with some of the noise, instead of noise alone."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Start:
    """SDEdit (Meng et al., arXiv:2108.01073): latents (B, 4, h, w) of images, and the strength.

    strength: in (0, 1], the share of the steps that are taken, the last ones; a part of a step is
    taken as a whole. The less of it, the nearer a sample stays to its image.
    """

    latents: Tensor
    strength: float

    def begin(self, scheduler: Any, noise: Tensor) -> tuple[int, Tensor]:
        """The first step that is taken, and the latents it is given, with its share of noise."""
        count = len(scheduler.timesteps)
        first = count - math.ceil(round(self.strength * count, 6))
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        at = scheduler.timesteps[first : first + 1]
        return first, scheduler.add_noise(self.latents.to(noise), noise, at)
