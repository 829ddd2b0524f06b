"""The guidance: a batch's latents are moved by what attention maps show of them.

Notable choices:
- A guidance sees one pass. Before a step it is a conditional pass of its own, which ends with the
  last layer that is read: Eq. 6. After a step it is the conditional half of the step's own pass,
  whose result is moved, as in classifier guidance (Dhariwal & Nichol 2021, Algorithm 1).
- A sample's gradient is that of its own loss: the losses of a batch are added up.
- The UNet's weights get no gradient; the caller sees to that (`frozen`).
- A rival's guidance lies among the rivals, and is imported where a recipe asks for it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from didgen.augment.device import exact
from didgen.augment.diffusion.attention import Maps
from didgen.augment.diffusion.losses import layout_loss, leak_loss, region_masks
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.augment.diffusion.schedulers import step_sizes
from didgen.manifests.recipes.sampling import Guidance, Sampling

LOSS_SCALE = 1024.0
"""Factor of the guidance's loss in the backward pass, a power of two, taken back after it."""

RIVALS = {
    "zest": "didgen.augment.rivals.zest:ZestGuidance",
    "refocus": "didgen.augment.rivals.refocus:RefocusGuidance",
}
"""The guidances of rivals, by the section of `sampling` that asks for one."""


@dataclass(frozen=True)
class Moment:
    """A step of the sampling, as a guidance knows it.

    eta: size of the guidance's step, 0 for none; progress: share of the steps that lie behind.
    """

    timestep: Tensor
    eta: float = 0.0
    progress: float = 0.0


@dataclass(frozen=True)
class Look:
    """What a guidance sees of a step.

    latents: (B, 4, h, w), those that the pass was given, which ask for a gradient; read: the maps
    of that pass, on their graph; condition: what the batch is drawn for; eta and progress: as of
    its `Moment`; spread: sqrt(1 - abar_t), the noise's share of such latents. again: before a step,
    takes another look at other latents, in place of this one, whose maps are then gone.
    """

    latents: Tensor
    read: Maps
    condition: Condition
    eta: float
    progress: float = 0.0
    spread: float = 1.0
    again: "Callable[[Tensor], Look] | None" = None


class MapGuidance(Protocol):
    """A guidance: captured maps and the condition in, moved latents out."""

    @property
    def update(self) -> Literal["before", "after"]:
        """Whether it moves latents before a step, by a pass of its own, or a step's result."""

    @property
    def reads(self) -> tuple[bool, bool]:
        """Whether it reads cross-attention, and whether self-attention."""

    def step_sizes(self, timesteps: Sequence[int]) -> list[float]:
        """The eta of every timestep; at 0 the step is not guided, and costs no pass."""

    def ask(self, read: Maps, condition: Condition) -> None:
        """Say what the pass is to keep of the attention that it reads."""

    def move(self, latents: Tensor, look: Look) -> Tensor:
        """Latents (B, 4, h, w) moved by what the look shows; gradients are on."""


@dataclass(frozen=True)
class LayoutGuidance:
    """Eq. 6: z - eta grad (L_CA + L_SA), each sample with its own gradient."""

    asked: Guidance

    @property
    def update(self) -> Literal["before", "after"]:
        """As the recipe says."""
        return self.asked.update

    @property
    def reads(self) -> tuple[bool, bool]:
        """Cross-attention for L_CA, self-attention for L_SA."""
        return self.asked.cross_attention, self.asked.self_attention

    def step_sizes(self, timesteps: Sequence[int]) -> list[float]:
        """As the recipe says; 0 everywhere where both terms are off."""
        return step_sizes(self.asked, timesteps)

    def ask(self, read: Maps, condition: Condition) -> None:
        """Ask for the P-Tokens' maps, and for self-attention applied to both regions."""
        if self.asked.cross_attention:
            read.positions, read.ends = condition.positions, condition.ends
        if self.asked.self_attention:
            regions = region_masks(condition.layouts, read.self_shape)
            read.regions = regions.flatten(2).transpose(1, 2)

    def move(self, latents: Tensor, look: Look) -> Tensor:
        """Latents a step further down the gradient."""
        return latents - look.eta * self.gradient(look)

    def gradient(self, look: Look) -> Tensor:
        """The gradient (B, 4, h, w) of L_CA + L_SA, each sample with its own."""
        with exact(look.latents.device):
            loss = self._losses(look.read, look.condition).sum()
        # Gradients of single pixels are below what float16 can hold.
        (gradient,) = torch.autograd.grad(LOSS_SCALE * loss, look.latents)
        return gradient / LOSS_SCALE

    def _losses(self, read: Maps, condition: Condition) -> Tensor:
        """L_CA + L_SA of each sample, (B,), as far as they are asked for."""
        asked = self.asked
        loss = torch.zeros(len(condition.layouts), device=condition.layouts.device)
        if asked.cross_attention:
            masks = region_masks(condition.layouts, read.cross_shape)
            sigma, normalised = asked.smoothing_sigma, read.asked.normalised
            loss = loss + layout_loss(read.cross_maps(), masks, sigma, normalised=normalised)
        if asked.self_attention:
            masks = region_masks(condition.layouts, read.self_shape)
            loss = loss + leak_loss(read.attended_regions(), masks, asked.normaliser)
        return loss


def guidance_of(sampling: Sampling) -> MapGuidance:
    """The guidance that a recipe asks for: a rival's, or Eq. 6."""
    for name, place in RIVALS.items():
        if (asked := getattr(sampling, name)) is not None:
            guidance: Callable[[Any], MapGuidance] = resolve_name(place)
            return guidance(asked)
    return LayoutGuidance(sampling.guidance)


def guided_by(guidance: Guidance | MapGuidance) -> MapGuidance:
    """A guidance, be it the one that a recipe's fields describe."""
    return LayoutGuidance(guidance) if isinstance(guidance, Guidance) else guidance


@contextmanager
def looking(
    reader: MapReader,
    guidance: MapGuidance,
    latents: Tensor,
    moment: Moment,
    condition: Condition,
) -> Iterator[Look]:
    """A look at latents (B, 4, h, w) before a step, by a pass of its own; gradients are on."""
    cross, own = guidance.reads
    reading = reader.reading(latents, cross_attention=cross, self_attention=own)
    spread = noise_share(reader, moment.timestep)
    with torch.enable_grad(), reading as read:

        def look(at: Tensor) -> Look:
            read.clear()
            seen = at.detach().requires_grad_()
            scaled = reader.scheduler.scale_model_input(seen, moment.timestep)
            reader.until_read(read, scaled, moment.timestep, condition)
            return Look(seen, read, condition, moment.eta, moment.progress, spread, look)

        guidance.ask(read, condition)
        yield look(latents)


def noise_share(reader: MapReader, timestep: Tensor) -> float:
    """sqrt(1 - abar_t): the share of noise in latents of unit variance at a timestep."""
    return float((1 - reader.scheduler.alphas_cumprod[int(timestep)]).sqrt())
