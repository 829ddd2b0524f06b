"""Attn-Refocus (Phung et al., CVPR 2024): latents are moved until maps keep to their regions.

Written from the paper's equations, with the constants of its public code (2c265cb for boxes,
81700c2 for masks). Named deviations stand at the recipe's `Refocus`.

Notable choices:
- Each sample stops by itself, and is then moved no more in this step: it is its own in any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from didgen.augment.device import exact
from didgen.augment.diffusion.attention import Maps
from didgen.augment.diffusion.guidance import LOSS_SCALE, Look
from didgen.augment.diffusion.losses import leak_loss, region_masks
from didgen.augment.diffusion.map_reader import Condition
from didgen.augment.diffusion.schedulers import step_sizes
from didgen.manifests.recipes.sampling import Guidance, Refocus

STEPS = 50
"""Steps of the source's sampling, by which its constants are given."""

EARLY, CAREFUL, LAST, EVERY = 10, 15, 35, 5
"""Steps until which each is guided; until which all terms count; of which each fifth is, to 35."""

SMALL = 0.1
"""Loss, times the step's length, at which an early step ends."""

OUTSIDE = 1.5
"""Weight of the attention outside a mask, in the form of masks."""


@dataclass(frozen=True)
class Stage:
    """Steps before `until`, with the length of their moves and how many they take at most."""

    until: int
    length: float
    moves: int


STAGES = {
    "box": (
        Stage(2, 4.0, 2),
        Stage(5, 4.0, 6),
        Stage(10, 3.0, 3),
        Stage(20, 3.0, 2),
        Stage(LAST + 1, 1.0, 2),
    ),
    "mask": (Stage(5, 2.0, 3), Stage(EARLY, 1.5, 2)),
}


@dataclass(frozen=True)
class RefocusGuidance:
    """z - s grad (CAR + SAR), or of the sums over masks, as often as the step allows."""

    asked: Refocus
    update: ClassVar[Literal["before", "after"]] = "before"

    @property
    def reads(self) -> tuple[bool, bool]:
        """Cross-attention, and self-attention where SAR is asked for."""
        return True, self._leaks

    @property
    def _leaks(self) -> bool:
        return self.asked.form == "box" and self.asked.self_attention

    def step_sizes(self, timesteps: Sequence[int]) -> list[float]:
        """The s of the source at the same share of its 50 steps."""
        etas = [0.0] * len(timesteps)
        steps = step_sizes(Guidance(eta=1, until=1), timesteps)
        taken = [place for place, eta in enumerate(steps) if eta]
        for number, place in enumerate(taken):
            progress = number / len(taken)
            inside = _step(progress) < STAGES[self.asked.form][-1].until
            if inside and _guided(number, len(taken)):
                etas[place] = self.asked.scale * self._stage(progress).length
        return etas

    def ask(self, read: Maps, condition: Condition) -> None:
        """Ask for the P-Tokens' sharpened maps, and for self-attention applied to both regions."""
        read.asked = read.asked.model_copy(update={"sharpness": self.asked.sharpness})
        read.positions, read.ends = condition.positions, condition.ends
        if self._leaks:
            regions = self._regions(condition.layouts, read.self_shape)
            read.regions = regions.flatten(2).transpose(1, 2)

    def move(self, latents: Tensor, look: Look) -> Tensor:
        """Latents (B, 4, h, w) moved until a sample's maps are good enough, or the step's last."""
        stage = self._stage(look.progress)
        assert look.again is not None
        moving = torch.ones(len(latents), dtype=torch.bool, device=latents.device)
        for number in range(stage.moves):
            with exact(look.latents.device):
                losses, unfinished = self._losses(look)
            (gradient,) = torch.autograd.grad(LOSS_SCALE * losses.sum(), look.latents)
            step = look.eta / LOSS_SCALE * gradient
            latents = torch.where(moving[:, None, None, None], latents - step, latents)
            moving = moving & unfinished
            if number + 1 == stage.moves or not bool(moving.any()):
                break
            look = look.again(latents)
        return latents

    def _losses(self, look: Look) -> tuple[Tensor, Tensor]:
        """The loss of each sample, (B,), and whether it is to be moved again, (B,)."""
        read, step = look.read, _step(look.progress)
        maps = read.cross_maps()
        regions = self._regions(look.condition.layouts, read.cross_shape)
        if self.asked.form == "mask":
            losses = mask_loss(maps, regions)
            return losses, look.eta * losses.detach() > SMALL
        if self.asked.smoothing_sigma:
            sigma = self.asked.smoothing_sigma
            maps = gaussian_blur(maps, kernel_size=[3, 3], sigma=[sigma, sigma])
        losses, inside = cross_loss(maps, regions > 0, step < CAREFUL)
        if self._leaks:
            boxes = self._regions(look.condition.layouts, read.self_shape)
            losses = losses + leak_loss(read.attended_regions(), boxes)
        unfinished = inside < self.asked.enough
        if step < EARLY:
            unfinished &= look.eta * losses.detach() > SMALL
        return losses, unfinished

    def _regions(self, layouts: Tensor, shape: tuple[int, int]) -> Tensor:
        """The regions (B, 2, h, w) of lesion and skin, as 0 and 1."""
        if self.asked.form == "box":
            layouts = boxed(layouts)
        lesion = region_masks(layouts, shape)[:, :1] >= 0.5
        return torch.cat([lesion, ~lesion], 1).float()

    def _stage(self, progress: float) -> Stage:
        """The stage of a step, or the last one."""
        stages, step = STAGES[self.asked.form], _step(progress)
        return next((stage for stage in stages if step < stage.until), stages[-1])


def cross_loss(maps: Tensor, regions: Tensor, early: bool) -> tuple[Tensor, Tensor]:
    """CAR = mean over i of w_in (1 - max_in a_i) + w_out max_other a_i + 1/2 max_background a_i.

    maps: (B, K, H, W) in [0, 1]; regions: (B, K, H, W) boolean, of each object; the background is
    what no object has, and `other` each region but the object's own. w_in is 6 below 0.1, w_out 4
    above 0.15; beyond 0.2 and 0.1 both are 0, and between them 1, as they are everywhere in an
    `early` step. Returns (B,), and the least of the largest values inside, (B,).
    """
    within = maps.masked_fill(~regions, 0).amax((-2, -1))
    # An object too small for the map has nothing to gain.
    inside = torch.where(regions.any(-1).any(-1), within, 1.0)
    elsewhere = regions[:, None] & ~regions[:, :, None]
    other = maps[:, :, None].masked_fill(~elsewhere, 0).amax((-2, -1))
    background = maps.masked_fill(regions.any(1, keepdim=True), 0).amax((-2, -1))
    rest = torch.full_like(inside, float(early))
    heavy, light = torch.full_like(inside, 6.0), torch.ones_like(inside)
    w_in = torch.where(inside < 0.1, heavy, torch.where(inside < 0.2, light, rest))
    w_out = torch.where(other > 0.15, 4.0, torch.where(other > 0.1, 1.0, float(early)))
    losses = w_in * (1 - inside) + (w_out * other).sum(-1) + background / 2
    return losses.mean(-1), inside.detach().amin(-1)


def mask_loss(maps: Tensor, masks: Tensor) -> Tensor:
    """- sum M a + 1.5 sum (1 - M) a over the pixels and objects of maps (B, K, H, W), (B,)."""
    return (maps * (OUTSIDE * (1 - masks) - masks)).sum((1, 2, 3))


def boxed(layouts: Tensor) -> Tensor:
    """The bounding boxes of layouts (B, 1, H, W) in [0, 1], as 0 and 1."""
    lesion = (layouts > 0.5).long()
    rows, columns = lesion.amax(-1, keepdim=True), lesion.amax(-2, keepdim=True)
    return (_between(rows, -2) * _between(columns, -1)).float()


def _between(marks: Tensor, dim: int) -> Tensor:
    """1 from the first mark of a dimension to the last, 0 elsewhere."""
    return marks.cummax(dim).values * marks.flip(dim).cummax(dim).values.flip(dim)


def _step(progress: float) -> int:
    """The step of the source that lies at a share of the sampling."""
    return int(progress * STEPS + 1e-6)


def _guided(number: int, count: int) -> bool:
    """Whether step `number` of `count` is guided: each early one, then those with a fifth of 50."""
    step = _step(number / count)
    # The first fifth that does not lie before this step, and whether it lies before the next.
    fifth = -(-number * STEPS // (count * EVERY)) * EVERY
    return step < EARLY or (fifth <= LAST and fifth * count < (number + 1) * STEPS)
