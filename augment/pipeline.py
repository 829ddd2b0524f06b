"""The pipeline: prompts, seeds and layouts in, images and their annotated masks out.

Notable choices:
- One seed a sample: its noise is drawn by a generator of its own, so the batch it is in does not
  matter.
- The guided pass is conditional only and asks for no weight gradients; the annotation's maps come
  from the conditional half of the last ordinary pass.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from torch import Tensor

from augment.annotation import binarise, propagate
from augment.attention import CROSS_SIDE, SELF_SIDE, Maps, captured
from augment.losses import layout_loss, leak_loss, region_masks
from augment.tokens import p_token_positions, tokenize
from manifests.errors import DidgenError
from manifests.recipe import Guidance, Sampling

SCHEDULERS = {
    "dpm++": DPMSolverMultistepScheduler,
    "ddim": DDIMScheduler,
    "pndm": PNDMScheduler,
}


@dataclass(frozen=True)
class Drawn:
    """A batch as it was drawn.

    images: (B, H, W, 3) uint8; masks: (B, H, W) bool or None; attention: the maps that the masks
    were cut from, (B, S, S) in [0, 1], or None.
    """

    images: np.ndarray
    masks: np.ndarray | None = None
    attention: np.ndarray | None = None


class LesionPairPipeline(StableDiffusionPipeline):
    """DiDGen's sampler over any Stable Diffusion model with P-Tokens."""

    @property
    def image_size(self) -> int:
        """Side of the images the model was trained for, in pixels."""
        return int(self.unet.config.sample_size * self.vae_scale_factor)

    @torch.no_grad()
    def draw(
        self,
        prompts: list[str],
        seeds: list[int],
        sampling: Sampling,
        layouts: Tensor | None = None,
    ) -> Drawn:
        """Draw one image a prompt; with layouts also guide it (Eq. 5, 6) and annotate it (Eq. 7).

        prompts, seeds: B of each; layouts: (B, 1, H, W) lesion masks in [0, 1], or None for plain
        classifier-free sampling. Raises DidgenError for a prompt without both P-Tokens and for a
        model that has no attention maps of the sides that are read.
        """
        device = self._execution_device
        side = self.unet.config.sample_size
        scheduler = scheduler_of(self, sampling.scheduler)
        scheduler.set_timesteps(sampling.steps, device=device)
        noise = [
            torch.randn(4, side, side, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        latents = torch.stack(noise).to(device) * scheduler.init_noise_sigma
        input_ids = tokenize(self.tokenizer, ["", *prompts]).to(device)
        context = self.text_encoder(input_ids)[0]
        empty, context = context[:1].expand(len(prompts), -1, -1), context[1:]
        positions = p_token_positions(self.tokenizer, input_ids[1:])
        both = torch.cat([empty, context])

        guided = round(sampling.guidance.until * sampling.steps) if layouts is not None else 0
        maps = Maps()
        for number, timestep in enumerate(scheduler.timesteps):
            if number < guided:
                assert layouts is not None
                latents = self._guide(
                    latents, timestep, context, positions, layouts.to(device), sampling.guidance
                )
            doubled = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
            if layouts is not None and number == len(scheduler.timesteps) - 1:
                with captured(self.unet, side) as maps:
                    maps.rows = slice(len(prompts), None)
                    maps.positions, maps.keep_self = positions, True
                    output = self.unet(doubled, timestep, both).sample
            else:
                output = self.unet(doubled, timestep, both).sample
            plain, prompted = output.float().chunk(2)
            output = plain + sampling.cfg * (prompted - plain)
            latents = scheduler.step(output, timestep, latents).prev_sample
        images = self._decode(latents)
        if layouts is None:
            return Drawn(images)
        attention = propagate(maps.cross_maps()[:, 0], maps.self_map())
        return Drawn(images, binarise(attention, images.shape[1]), attention.cpu().numpy())

    def _guide(
        self,
        latents: Tensor,
        timestep: Tensor,
        context: Tensor,
        positions: Tensor,
        layouts: Tensor,
        guidance: Guidance,
    ) -> Tensor:
        """Eq. 5, 6: z - eta grad (L_CA + L_SA), each sample with its own gradient."""
        if guidance.eta == 0 or not (guidance.cross_attention or guidance.self_attention):
            return latents
        self.unet.requires_grad_(False)
        with torch.enable_grad(), captured(self.unet, latents.shape[-1]) as maps:
            maps.positions = positions
            if guidance.self_attention:
                regions = region_masks(layouts, SELF_SIDE)
                maps.regions = regions.flatten(2).transpose(1, 2)
            latents = latents.detach().requires_grad_()
            self.unet(latents, timestep, context)
            losses = []
            if guidance.cross_attention:
                masks = region_masks(layouts, CROSS_SIDE)
                losses.append(layout_loss(maps.cross_maps(), masks, guidance.smoothing_sigma))
            if guidance.self_attention:
                losses.append(leak_loss(maps.attended_regions(), regions))
            (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), latents)
        return latents.detach() - guidance.eta * gradient

    def _decode(self, latents: Tensor) -> np.ndarray:
        """Images (B, H, W, 3) uint8 of latents (B, 4, h, w)."""
        config = self.vae.config
        raw = latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
        pixels = self.vae.decode(raw.to(self.vae.dtype)).sample.float()
        levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return levels.movedim(1, -1).cpu().numpy()


def scheduler_of(
    pipeline: StableDiffusionPipeline, name: str
) -> DPMSolverMultistepScheduler | DDIMScheduler | PNDMScheduler:
    """A fresh scheduler of the given kind for the model's own noise schedule."""
    config = pipeline.scheduler.config
    if name != "pndm":
        return SCHEDULERS[name].from_config(config)
    if config.get("rescale_betas_zero_snr") or config.get("prediction_type") == "sample":
        raise DidgenError(
            "PNDM cannot sample a model trained to zero terminal SNR or to predict the image "
            "itself; set `sampling.scheduler` to dpm++ or ddim."
        )
    # As in every release of Stable Diffusion: Runge-Kutta steps would come on top of `steps`.
    return PNDMScheduler.from_config(config, skip_prk_steps=True)
