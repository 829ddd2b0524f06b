"""The training objective of finetuning: Eq. 4 over a diffusion model's UNet.

Notable choices:
- The capture processors stay on the UNet for the whole training, so that gradient checkpointing,
  which runs layers again in the backward pass, meets the same ones with the same questions.
- Every term is a mean over samples, so that the gradients of n processes, averaged, are those of
  one process with a batch n times as large.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, SchedulerMixin, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.training_utils import compute_snr
from torch import Tensor, nn

from didgen.augment.diffusion.attention import Maps, install
from didgen.augment.diffusion.autoencoder import decode, encode
from didgen.augment.diffusion.losses import attention_loss, leak_loss, region_masks
from didgen.augment.diffusion.p_tokens import end_positions, p_token_positions, tokenize
from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.augment.prompts.prompt import P_TOKENS
from didgen.manifests.recipes.finetune import FinetuneRecipe


class RegionLoss(nn.Module):
    """Eq. 4: L = L_rec + weight L_attn, over one batch of `RegionDataset`, of whole or half size.

    Where the recipe gives it a weight, L_SA of Eq. 5 is added: a model built from nothing has no
    self-attention that keeps to regions, which guidance and annotation build on. L_rec follows the
    scheduler's prediction type and takes min-SNR weights where the recipe asks for them. L_attn is
    the mean over all samples of the batch; a sample whose prompt was dropped counts as 0, since it
    has no P-Tokens. A term of weight 0 costs nothing: nothing is captured for it.

    With `perceptual`, made of the recipe's field, the distance between the image that the
    prediction means and the true one, both decoded, is added by its weight: squared errors of
    latents hardly see the fine structure that tells diagnoses apart. It counts by the signal's
    share of the noisy latents, because of pure noise the best prediction is a mean of images, and
    no image. Before the step `perceptual_from` of the recipe it is left out.

    A built model trains UNet and text encoder, a loaded one its UNet, or the adapters on it. What
    is fixed and cached is no part of this module, and needs no place on its device; the perceptual
    term needs the autoencoder's decoder.
    """

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        recipe: FinetuneRecipe,
        perceptual: PerceptualDistance | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.tokenizer = pipeline.unet, pipeline.tokenizer
        if recipe.lora is None:
            self.unet.requires_grad_(True)
        pipeline.vae.requires_grad_(False)
        pipeline.text_encoder.requires_grad_(recipe.build is not None)
        self.perceptual = perceptual
        self.vae = None if recipe.cache and perceptual is None else pipeline.vae
        keeps_text = recipe.build is not None or not recipe.cache
        self.text_encoder = pipeline.text_encoder if keeps_text else None
        # Samplers that a model may come with, PNDM or DPM++, do not know every prediction type.
        self.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        self.recipe = recipe
        self.maps = Maps(recipe.maps)
        self.unet.set_attn_processor(AttnProcessor2_0())
        if recipe.attention_weight > 0 or recipe.leak_weight > 0:
            self.maps = install(
                self.unet,
                recipe.image_size // 8,
                recipe.maps,
                cross_attention=recipe.attention_weight > 0,
                self_attention=recipe.leak_weight > 0,
            )
        if recipe.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        _fix_p_tokens(pipeline)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        recipe, maps = self.recipe, self.maps
        latents, context = self._latents(batch), self._context(batch)
        noise, timesteps, prompted = batch["noise"], batch["timestep"], batch["prompted"]
        # A batch is all of one size, which its latents tell.
        whole = 8 * latents.shape[-1] == recipe.image_size
        asked = recipe.maps if whole else recipe.maps.halved()
        # What the last backward pass wrote, too, where it ran layers again.
        maps.clear()
        if recipe.attention_weight > 0:
            input_ids = tokenize(self.tokenizer, batch["prompt"]).to(latents.device)
            maps.positions = torch.zeros(len(input_ids), 2, dtype=torch.long, device=latents.device)
            maps.positions[prompted] = p_token_positions(self.tokenizer, input_ids[prompted])
            # An empty prompt has no words to be sharpened over: it gets one, and counts as 0.
            maps.ends = end_positions(self.tokenizer, input_ids).clamp_min(2)
        if recipe.leak_weight > 0:
            within = region_masks(batch["mask"], asked.self_side)
            maps.regions = within.flatten(2).transpose(1, 2)

        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        output = self.unet(noisy, timesteps, context).sample.float()
        aim = target(self.scheduler, latents, noise, timesteps)
        errors = F.mse_loss(output, aim, reduction="none")
        per_sample = errors.mean((1, 2, 3))
        if recipe.min_snr_gamma is not None:
            per_sample = per_sample * min_snr_weights(
                self.scheduler, timesteps, recipe.min_snr_gamma
            )
        loss = per_sample.mean()
        scalars = {"reconstruction": loss.detach()}
        if recipe.attention_weight > 0:
            regions = region_masks(batch["mask"], asked.cross_side)
            terms = attention_loss(maps.cross_maps(), regions, normalised=recipe.maps.normalised)
            attention = (terms * prompted).mean()
            loss = loss + recipe.attention_weight * attention
            scalars["attention"] = attention.detach()
        if recipe.leak_weight > 0:
            leak = leak_loss(maps.attended_regions(), within).mean()
            loss = loss + recipe.leak_weight * leak
            scalars["leak"] = leak.detach()
        if self.perceptual is not None and batch["step"] >= recipe.perceptual_from:
            clean = predicted_latents(self.scheduler, output, noisy, timesteps)
            with torch.no_grad():
                images = decode(self.vae, latents)
            distances = self.perceptual(decode(self.vae, clean), images)
            perceptual = (signal_share(self.scheduler, timesteps) * distances).mean()
            loss = loss + self.perceptual.weight * perceptual
            scalars["perceptual"] = perceptual.detach()
        return {"loss": loss, **scalars}

    @contextmanager
    def resting(self) -> Iterator[None]:
        """For a while the model is one to sample from: no captures, no dropout, nothing twice."""
        processors, training = dict(self.unet.attn_processors), self.training
        self.unet.set_attn_processor(AttnProcessor2_0())
        self.unet.disable_gradient_checkpointing()
        self.eval()
        try:
            yield
        finally:
            self.unet.set_attn_processor(processors)
            if self.recipe.gradient_checkpointing:
                self.unet.enable_gradient_checkpointing()
            self.train(training)

    @torch.no_grad()
    def _latents(self, batch: dict[str, Any]) -> Tensor:
        """Latents of a batch, from the cache or its pixels."""
        cached = self.recipe.cache
        return (batch["latents"] if cached else encode(self.vae, batch["pixels"])).float()

    def _context(self, batch: dict[str, Any]) -> Tensor:
        """Text embeddings (B, T, C) of a batch, from the cache or its prompts."""
        if self.text_encoder is None:
            return batch["context"].float()
        input_ids = tokenize(self.tokenizer, batch["prompt"])
        return self.text_encoder(input_ids.to(batch["noise"].device))[0]


def target(scheduler: SchedulerMixin, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What a model predicts, by its scheduler's prediction type, (B, 4, h, w)."""
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return latents


def predicted_latents(
    scheduler: SchedulerMixin, output: Tensor, noisy: Tensor, timesteps: Tensor
) -> Tensor:
    """The latents without noise (B, 4, h, w) that a model's output for noisy ones means."""
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return output
    share = signal_share(scheduler, timesteps)[:, None, None, None]
    signal, spread = share.sqrt(), (1 - share).sqrt()
    if kind == "v_prediction":
        return signal * noisy - spread * output
    # Where there is no signal, a prediction of noise says nothing about the latents.
    return (noisy - spread * output) / signal.clamp_min(1e-3)


def signal_share(scheduler: SchedulerMixin, timesteps: Tensor) -> Tensor:
    """The signal's share (B,) of the power of noisy latents at timesteps (B,), in [0, 1]."""
    return scheduler.alphas_cumprod.to(timesteps.device)[timesteps]


def min_snr_weights(scheduler: SchedulerMixin, timesteps: Tensor, gamma: float) -> Tensor:
    """Min-SNR weights (B,) of L_rec at timesteps (B,), by the scheduler's prediction type.

    Hang et al., ICCV 2023: min(SNR, gamma) for a model that predicts the image, over SNR for one
    that predicts noise, over SNR + 1 for one that predicts v. At zero SNR these are 0, 1 and 0.
    """
    snr = compute_snr(scheduler, timesteps)
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return (gamma / snr).clamp_max(1)
    return snr.clamp_max(gamma) / (snr + 1 if kind == "v_prediction" else 1)


def _fix_p_tokens(pipeline: StableDiffusionPipeline) -> None:
    """Keep the P-Tokens' embeddings as they are: their rows get no gradient."""
    weight = pipeline.text_encoder.get_input_embeddings().weight
    rows = pipeline.tokenizer.convert_tokens_to_ids(list(P_TOKENS))
    if weight.requires_grad:
        weight.register_hook(
            lambda gradient: gradient.index_fill(0, torch.tensor(rows, device=gradient.device), 0.0)
        )
