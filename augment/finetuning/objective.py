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

from didgen.augment.conditioning.p_tokens import end_positions, p_token_positions, tokenize
from didgen.augment.conditioning.texts import conditions, encoded, text_parts
from didgen.augment.diffusion.attention import Maps, install
from didgen.augment.diffusion.autoencoder import decode
from didgen.augment.diffusion.losses import attention_loss, leak_loss, region_masks
from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.augment.finetuning.latents import encode_exactly, seen_latents
from didgen.augment.prompts.prompt import P_TOKENS
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.sampling import AttentionMaps


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

    With `prior` of the recipe, Eq. 1 of images of the class is added by its weight.

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
        for _, encoder in text_parts(pipeline):
            encoder.requires_grad_(recipe.build is not None)
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
        # Its forward alone: samples of the sheets meet other processors and shapes.
        forward = self.unet.forward
        self.predict = torch.compile(forward) if recipe.compile else forward
        _fix_p_tokens(pipeline)
        self.prior_context: Tensor
        if recipe.prior is not None:
            with torch.no_grad():
                context = encoded(pipeline, [recipe.prior.prompt])
            self.register_buffer("prior_context", context, persistent=False)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        recipe = self.recipe
        latents, context = self._latents(batch), self._context(batch)
        noise, timesteps = batch["noise"], batch["timestep"]
        # A batch is all of one size, which its latents tell.
        whole = 8 * latents.shape[-1] == recipe.image_size
        asked = recipe.maps if whole else recipe.maps.halved()
        self._ask(batch, asked)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        output = self.prediction(noisy, timesteps, context, batch).float()
        aim = target(self.scheduler, latents, noise, timesteps)
        terms = {"reconstruction": (1.0, self._reconstruction(output, aim, timesteps))}
        if recipe.attention_weight > 0:
            terms["attention"] = recipe.attention_weight, self._attention(batch, asked)
        if recipe.leak_weight > 0:
            terms["leak"] = recipe.leak_weight, self._leak(batch, asked)
        if self.perceptual is not None and batch["step"] >= recipe.perceptual_from:
            clean = predicted_latents(self.scheduler, output, noisy, timesteps)
            terms["perceptual"] = self.perceptual.weight, self._distance(clean, latents, timesteps)
        if recipe.prior is not None:
            terms["prior"] = recipe.prior.weight, self._prior(batch)
        nothing = torch.zeros((), device=noise.device)
        loss = sum((weight * term for weight, term in terms.values()), start=nothing)
        return {"loss": loss} | {name: term.detach() for name, (_, term) in terms.items()}

    def prediction(
        self, noisy: Tensor, timesteps: Tensor, context: Tensor, batch: dict[str, Any]
    ) -> Tensor:
        """What the model predicts of noisy latents, (B, 4, h, w)."""
        on = conditions(self.unet, context, noisy)
        output: Tensor = self.predict(noisy, timesteps, **on).sample
        return output

    def _ask(self, batch: dict[str, Any], asked: AttentionMaps) -> None:
        """Tell the capture processors what to read of this batch."""
        maps, device = self.maps, batch["noise"].device
        # What the last backward pass wrote, too, where it ran layers again.
        maps.clear()
        height, width = batch["noise"].shape[-2:]
        maps.latents = height, width
        if self.recipe.attention_weight > 0:
            prompted = batch["prompted"]
            input_ids = tokenize(self.tokenizer, batch["prompt"]).to(device)
            maps.positions = torch.zeros(len(input_ids), 2, dtype=torch.long, device=device)
            maps.positions[prompted] = p_token_positions(self.tokenizer, input_ids[prompted])
            # An empty prompt has no words to be sharpened over: it gets one, and counts as 0.
            maps.ends = end_positions(self.tokenizer, input_ids).clamp_min(2)
        if self.recipe.leak_weight > 0:
            within = region_masks(batch["mask"], asked.self_side)
            maps.regions = within.flatten(2).transpose(1, 2)

    def _reconstruction(self, output: Tensor, aim: Tensor, timesteps: Tensor) -> Tensor:
        """L_rec of Eq. 1, the mean over samples and latents."""
        per_sample = F.mse_loss(output, aim, reduction="none").mean((1, 2, 3))
        if self.recipe.min_snr_gamma is not None:
            gamma = self.recipe.min_snr_gamma
            per_sample = per_sample * min_snr_weights(self.scheduler, timesteps, gamma)
        return per_sample.mean()

    def _prior(self, batch: dict[str, Any]) -> Tensor:
        """Eq. 1 of the images of the class, by their own prompt: DreamBooth's L(class)."""
        latents, noise = batch["prior_latents"], batch["prior_noise"]
        timesteps = batch["prior_timestep"]
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        context = self.prior_context.expand(len(latents), -1, -1)
        output = self.prediction(noisy, timesteps, context, batch).float()
        aim = target(self.scheduler, latents, noise, timesteps)
        return self._reconstruction(output, aim, timesteps)

    def _attention(self, batch: dict[str, Any], asked: AttentionMaps) -> Tensor:
        """L_attn of Eq. 3, weighted by the timestep, the mean over samples."""
        per_sample = attention_loss(
            self.maps.cross_maps(),
            region_masks(batch["mask"], asked.cross_side),
            normalised=asked.normalised,
            reduction=self.recipe.attention_reduction,
        )
        weights = attention_weights(self.scheduler, batch["timestep"], self.recipe)
        return (per_sample * batch["prompted"] * weights).mean()

    def _leak(self, batch: dict[str, Any], asked: AttentionMaps) -> Tensor:
        """L_SA of Eq. 5, the mean over samples."""
        within = region_masks(batch["mask"], asked.self_side)
        return leak_loss(self.maps.attended_regions(), within).mean()

    def _distance(self, clean: Tensor, latents: Tensor, timesteps: Tensor) -> Tensor:
        """The perceptual distance of two latents' images, by the signal's share."""
        assert self.perceptual is not None
        with torch.no_grad():
            images = decode(self.vae, latents)
        distances = self.perceptual(decode(self.vae, clean), images)
        return (signal_share(self.scheduler, timesteps) * distances).mean()

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

    def _latents(self, batch: dict[str, Any]) -> Tensor:
        """Latents of a batch, from the cache or its pixels."""
        cached = self.recipe.cache
        encoded = {} if cached else encode_exactly(self.vae, batch["pixels"])
        return seen_latents(batch | encoded)

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


def attention_weights(
    scheduler: SchedulerMixin, timesteps: Tensor, recipe: FinetuneRecipe
) -> Tensor:
    """Weights (B,) of L_attn at timesteps (B,), as `attention_timesteps` of the recipe says.

    The signal's share is divided by its mean over all timesteps, so that `attention_weight` means
    the same with it: a map that is read from noise alone can show no lesion of its image.
    """
    if recipe.attention_timesteps == "signal":
        mean = scheduler.alphas_cumprod.to(timesteps.device).mean()
        return signal_share(scheduler, timesteps) / mean
    if recipe.attention_timesteps == "min-snr":
        assert recipe.min_snr_gamma is not None
        return min_snr_weights(scheduler, timesteps, recipe.min_snr_gamma)
    return torch.ones(len(timesteps), device=timesteps.device)


def _fix_p_tokens(pipeline: StableDiffusionPipeline) -> None:
    """Keep the P-Tokens' embeddings as they are: their rows get no gradient."""
    weight = pipeline.text_encoder.get_input_embeddings().weight
    rows = pipeline.tokenizer.convert_tokens_to_ids(list(P_TOKENS))
    if weight.requires_grad:
        weight.register_hook(
            lambda gradient: gradient.index_fill(0, torch.tensor(rows, device=gradient.device), 0.0)
        )
