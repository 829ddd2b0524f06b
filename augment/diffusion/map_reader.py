"""The map reader: passes of the UNet that attention maps are read of.

Notable choices:
- Passes that only maps are read of are conditional only, and end with the last layer that is read.
- The layers are those that have the asked sides at the model's own size, whatever size is drawn.
- Maps at a given timestep are read by the model's noise schedule. The steps of a scheduler hold few
  timesteps, and another few with another number of steps.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from didgen.augment.conditioning.texts import conditions
from didgen.augment.device import exact
from didgen.augment.diffusion.attention import AllRead, Maps, captured, own_side
from didgen.manifests.recipes.sampling import AttentionMaps


@dataclass(frozen=True)
class Condition:
    """What a batch is drawn for.

    context: texts as `encoded` (B, T, C); positions: (B, 2) of the P-Tokens; ends: (B,) of the
    prompts' end tokens; layouts: (B, 1, H, W) in [0, 1].
    """

    context: Tensor
    positions: Tensor
    ends: Tensor
    layouts: Tensor

    def first(self, count: int) -> "Condition":
        """That of the first samples of the batch."""
        parts = (self.context, self.positions, self.ends, self.layouts)
        return Condition(*(part[:count] for part in parts))


@dataclass(frozen=True)
class MapReader:
    """A UNet and its scheduler, of which the attention maps that are asked for are read.

    further: what the UNet is called with besides latents, timestep and context.
    """

    unet: UNet2DConditionModel
    scheduler: Any
    maps: AttentionMaps
    further: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def reading(
        self, latents: Tensor, *, cross_attention: bool = True, self_attention: bool = True
    ) -> Iterator[Maps]:
        """Capture what passes over latents (B, 4, h, w) write, for a while."""
        capturing = captured(
            self.unet,
            own_side(self.unet),
            self.maps,
            cross_attention=cross_attention,
            self_attention=self_attention,
        )
        with capturing as read:
            height, width = latents.shape[-2:]
            read.latents = height, width
            yield read

    def lesion_maps(self, latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """The lesion token's cross-attention (B, h, w) at a step of the sampling."""
        with self.reading(latents, self_attention=False) as read:
            read.positions, read.ends = condition.positions, condition.ends
            scaled = self.scheduler.scale_model_input(latents, timestep)
            self.until_read(read, scaled, timestep, condition)
        with exact(latents.device):
            return read.cross_maps()[:, 0]

    def noised(self, latents: Tensor, timestep: int, noise: Tensor, condition: Condition) -> Maps:
        """Cross maps and whole self map of finished latents that get a timestep's share of noise.

        latents and noise: (B, 4, h, w); the noise is standard normal.
        """
        signal = self.scheduler.alphas_cumprod[timestep].to(latents)
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        with self.reading(latents) as read:
            read.positions, read.ends = condition.positions, condition.ends
            read.keep_self = True
            at = torch.tensor(timestep, device=latents.device)
            self.until_read(read, noisy, at, condition)
        return read

    def until_read(
        self, read: Maps, scaled: Tensor, timestep: Tensor, condition: Condition
    ) -> None:
        """A pass of the UNet that ends with the last layer that is read."""
        read.early_end = "pass"
        with suppress(AllRead):
            self.predict(scaled, timestep, condition.context)

    def predict(self, scaled: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """A whole pass of the UNet over latents as the scheduler scales them, in float32."""
        # `forward` is never compiled: capture changes processors as it goes.
        given = scaled.to(self.unet.dtype)
        on = conditions(self.unet, context, given) | dict(self.further)
        output = self.unet.forward(given, timestep, **on).sample
        return output.float()
