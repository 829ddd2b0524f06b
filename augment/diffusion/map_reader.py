"""The map reader: passes of the UNet that only attention maps are read of, and Eq. 6's gradient.

Notable choices:
- These passes are conditional only, and end with the last layer that is read.
- A sample's gradient is that of its own loss: the losses of a batch are added up.
- Maps at a given timestep are read by the model's noise schedule. The steps of a scheduler hold few
  timesteps, and another few with another number of steps.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from didgen.augment.device import exact
from didgen.augment.diffusion.attention import AllRead, Maps, captured
from didgen.augment.diffusion.losses import layout_loss, leak_loss, region_masks
from didgen.manifests.recipes.sampling import AttentionMaps, Guidance

LOSS_SCALE = 1024.0
"""Factor of the guidance's loss in the backward pass, a power of two, taken back after it."""


@dataclass(frozen=True)
class Condition:
    """What a batch is drawn for.

    context: text embeddings (B, T, C); positions: (B, 2) of the P-Tokens; ends: (B,) of the
    prompts' end tokens; layouts: (B, 1, H, H) in [0, 1].
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
    """A UNet and its scheduler, of which the attention maps that are asked for are read."""

    unet: UNet2DConditionModel
    scheduler: Any
    maps: AttentionMaps

    def lesion_maps(self, latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """The lesion token's cross-attention (B, S, S) at a step of the sampling."""
        side = latents.shape[-1]
        with captured(self.unet, side, self.maps, self_attention=False) as read:
            read.positions, read.ends = condition.positions, condition.ends
            scaled = self.scheduler.scale_model_input(latents, timestep)
            self._until_read(read, scaled, timestep, condition)
        with exact(latents.device):
            return read.cross_maps()[:, 0]

    def noised(self, latents: Tensor, timestep: int, noise: Tensor, condition: Condition) -> Maps:
        """Cross maps and whole self map of finished latents that get a timestep's share of noise.

        latents and noise: (B, 4, h, w); the noise is standard normal.
        """
        signal = self.scheduler.alphas_cumprod[timestep].to(latents)
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        with captured(self.unet, latents.shape[-1], self.maps) as read:
            read.positions, read.ends = condition.positions, condition.ends
            read.keep_self = True
            at = torch.tensor(timestep, device=latents.device)
            self._until_read(read, noisy, at, condition)
        return read

    def gradient(
        self, latents: Tensor, timestep: Tensor, condition: Condition, guidance: Guidance
    ) -> Tensor:
        """The gradient (B, 4, h, w) of L_CA + L_SA, each sample with its own."""
        reading = captured(
            self.unet,
            latents.shape[-1],
            self.maps,
            cross_attention=guidance.cross_attention,
            self_attention=guidance.self_attention,
        )
        with torch.enable_grad(), reading as read:
            if guidance.cross_attention:
                read.positions, read.ends = condition.positions, condition.ends
            if guidance.self_attention:
                regions = region_masks(condition.layouts, self.maps.self_side)
                read.regions = regions.flatten(2).transpose(1, 2)
            latents = latents.detach().requires_grad_()
            scaled = self.scheduler.scale_model_input(latents, timestep)
            self._until_read(read, scaled, timestep, condition)
            with exact(latents.device):
                loss = self._losses(read, condition, guidance).sum()
            # Gradients of single pixels are below what float16 can hold.
            (gradient,) = torch.autograd.grad(LOSS_SCALE * loss, latents)
        return gradient / LOSS_SCALE

    def _losses(self, read: Maps, condition: Condition, guidance: Guidance) -> Tensor:
        """L_CA + L_SA of each sample, (B,), as far as they are asked for."""
        loss = torch.zeros(len(condition.layouts), device=condition.layouts.device)
        if guidance.cross_attention:
            masks = region_masks(condition.layouts, self.maps.cross_side)
            sigma, normalised = guidance.smoothing_sigma, self.maps.normalised
            loss = loss + layout_loss(read.cross_maps(), masks, sigma, normalised=normalised)
        if guidance.self_attention:
            masks = region_masks(condition.layouts, self.maps.self_side)
            loss = loss + leak_loss(read.attended_regions(), masks, guidance.normaliser)
        return loss

    def _until_read(
        self, read: Maps, scaled: Tensor, timestep: Tensor, condition: Condition
    ) -> None:
        """A pass of the UNet that ends with the last layer that is read."""
        read.early_exit = True
        with suppress(AllRead):
            self.unet.forward(scaled.to(self.unet.dtype), timestep, condition.context)
