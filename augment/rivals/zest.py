"""ZestGuide (Couairon et al., ICCV 2023): a step's result is moved by cross-entropies of its maps.

Written from the paper's equations, with the constants of its public code (6b7e81a). Named
deviations stand at the recipe's `Zest`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from didgen.augment.device import exact
from didgen.augment.diffusion.attention import Maps
from didgen.augment.diffusion.guidance import LOSS_SCALE, Look
from didgen.augment.diffusion.losses import region_masks
from didgen.augment.diffusion.map_reader import Condition
from didgen.augment.diffusion.schedulers import step_sizes
from didgen.manifests.recipes.sampling import Guidance, Zest

LEAST = 1e-3
"""How near to 0 and 1 maps and segments come in the cross-entropies."""

NOTHING = 0.01
"""Scaled attention up to which pixels outside a segment do not count."""


@dataclass(frozen=True)
class ZestGuidance:
    """z_{t-1} - eta sqrt(1 - abar_t) g / |g|_inf, each sample with its own gradient g."""

    asked: Zest
    update: ClassVar[Literal["before", "after"]] = "after"
    reads: ClassVar[tuple[bool, bool]] = (True, False)

    def step_sizes(self, timesteps: Sequence[int]) -> list[float]:
        """The same eta in each step of the first share."""
        asked = Guidance(eta=self.asked.eta, until=self.asked.until, update="after")
        return step_sizes(asked, timesteps)

    def ask(self, read: Maps, condition: Condition) -> None:
        """Ask for the P-Tokens' maps."""
        read.positions, read.ends = condition.positions, condition.ends

    def move(self, latents: Tensor, look: Look) -> Tensor:
        """Latents (B, 4, h, w) moved; the largest change of each sample is eta sqrt(1 - abar_t)."""
        with exact(look.latents.device):
            segments = region_masks(look.condition.layouts, look.read.cross_shape)
            loss = zest_loss(look.read.cross_maps(), segments, self.asked)
        (gradient,) = torch.autograd.grad(LOSS_SCALE * loss.sum(), look.latents)
        largest = gradient.abs().amax((1, 2, 3), keepdim=True)
        direction = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
        return latents - look.eta * look.spread * direction


def zest_loss(maps: Tensor, segments: Tensor, asked: Zest) -> Tensor:
    """L_Zest = sum over k of BCE(10 A_k, S_k) + BCE(A_k / max A_k, S_k), one value a sample.

    maps, segments: (B, K, H, W) in [0, 1]. Returns (B,): of each map the mean over its pixels.
    """
    scaled = asked.scale * maps
    relative = maps / maps.amax((-2, -1), keepdim=True).clamp_min(1e-8)
    both = ((scaled, NOTHING), (relative, asked.ignored))
    wanted = segments.clamp(LEAST, 1 - LEAST)
    losses = []
    for found, ignored in both:
        counts = (found > ignored) | (segments > ignored)
        seen = (found * counts).clamp(LEAST, 1 - LEAST)
        losses.append(F.binary_cross_entropy(seen, wanted, reduction="none").mean((-2, -1)))
    return torch.stack(losses).sum((0, 2))
