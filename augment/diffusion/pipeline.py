"""The pipeline: prompts, layouts and generators in, images and their annotated masks out.

Notable choices:
- One generator a sample: its noise is its own, so the batch it is in does not matter.
- The guided pass is conditional only, asks for no weight gradients, and ends with the last layer
  that is read; the annotation's maps come from the conditional half of the last ordinary pass.
- Latents are float32 between the passes, whatever the weights are kept in.
- Only the ordinary passes go through a compiled UNet: capture changes processors as it goes.
- Maps that are only looked at come from passes of their own, so that no sample's bits hang on it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor, nn

from didgen.augment.device import exact
from didgen.augment.diffusion.annotation import binarise, propagate
from didgen.augment.diffusion.attention import AllRead, captured
from didgen.augment.diffusion.autoencoder import decode, levels
from didgen.augment.diffusion.losses import layout_loss, leak_loss, region_masks
from didgen.augment.diffusion.p_tokens import end_positions, p_token_positions, tokenize
from didgen.augment.diffusion.schedulers import scheduler_of, step_sizes
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps, Guidance, Sampling
from didgen.manifests.views.attention_maps import moments

LOSS_SCALE = 1024.0
"""Factor of the guidance's loss in the backward pass, a power of two, taken back after it."""

Masks = Tensor | np.ndarray | Image.Image | Sequence[Image.Image | np.ndarray | Tensor]
"""What a caller may have for layouts."""


@dataclass
class LesionPairs(BaseOutput):
    """A batch as it was drawn.

    images: (B, H, W, 3) uint8, or B PIL images; masks: (B, H, W) bool, or B PIL images of 0 and
    255, or None where no layout was given; attention: the maps that the masks were cut from,
    (B, S, S) in [0, 1], or None; history: the lesion token's cross-attention of the first W
    samples at the steps of `moments`, (W, T, S, S), or None where none was watched.
    """

    images: Any
    masks: Any = None
    attention: np.ndarray | None = None
    history: np.ndarray | None = None

    def pictures(self) -> "LesionPairs":
        """The same batch as PIL images."""
        masks = self.masks
        if masks is not None:
            masks = [Image.fromarray(mask).convert("L") for mask in masks]
        images = [Image.fromarray(image) for image in self.images]
        return LesionPairs(images, masks, self.attention, self.history)


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


class LesionPairPipeline(StableDiffusionPipeline):
    """DiDGen's sampler over any Stable Diffusion model with P-Tokens.

    `LesionPairPipeline.from_pretrained(folder)` loads what `didgen finetune` left; a scheduler is
    put in by `pipeline.scheduler = scheduler_of(pipeline, "ddim")`.
    """

    @property
    def image_size(self) -> int:
        """Side of the images the model was trained for, in pixels."""
        return int(self.unet.config.sample_size * self.vae_scale_factor)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        masks: Masks | None = None,
        *,
        num_inference_steps: int = 20,
        guidance_scale: float = 7.5,
        guidance_rescale: float = 0.0,
        negative_prompt: str | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        maps: AttentionMaps = AttentionMaps(),  # noqa: B008 - immutable
        guidance: Guidance = Guidance(),  # noqa: B008
        annotation: Annotation = Annotation(),  # noqa: B008
        watched: int = 0,
        output_type: str = "pil",
    ) -> LesionPairs:
        """Draw one image a prompt; with masks also guide it (Eq. 6) and annotate it (Eq. 7).

        masks: the layouts, B PIL images or arrays, or (B, H, H) or (B, 1, H, H) in [0, 1], or None
        for plain classifier-free sampling; generator: B of them, one a sample, as diffusers takes
        them; watched: samples, the first of the batch, whose `history` is kept where they have
        masks; output_type: "pil" or "np". Raises DidgenError for a prompt that is to be guided and
        has not both P-Tokens, and for a model that has no attention maps of the sides that are
        read; ValueError for masks of another number, shape or range.
        """
        if output_type not in ("pil", "np"):
            raise ValueError(f"output_type is pil or np, not {output_type}")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        device, side = self._execution_device, self.unet.config.sample_size
        input_ids = tokenize(self.tokenizer, [negative_prompt or "", *prompts]).to(device)
        context = self.text_encoder(input_ids)[0].to(self.unet.dtype)
        condition = None
        if masks is not None:
            condition = Condition(
                context[1:],
                p_token_positions(self.tokenizer, input_ids[1:]),
                end_positions(self.tokenizer, input_ids[1:]),
                as_layouts(masks, len(prompts)).to(device),
            )
        both = torch.cat([context[:1].expand(len(prompts), -1, -1), context[1:]])
        scheduler = self.scheduler
        scheduler.set_timesteps(num_inference_steps, device=device)
        latents = self.prepare_latents(
            len(prompts),
            self.unet.config.in_channels,
            self.image_size,
            self.image_size,
            torch.float32,
            device,
            generator,
        )
        # Schedulers that draw noise as they go draw it from the samples' own generators.
        extra = self.prepare_extra_step_kwargs(generator, 0.0)
        etas = step_sizes(guidance, scheduler.timesteps.tolist())
        attention = None
        history: list[Tensor] = []
        looks = moments(len(scheduler.timesteps)) if condition is not None and watched else []
        with frozen(self.unet), self.progress_bar(total=len(scheduler.timesteps)) as bar:
            for number, timestep in enumerate(scheduler.timesteps):
                if condition is not None and etas[number] > 0:
                    latents = self._guide(
                        latents, timestep, condition, etas[number], maps, guidance
                    )
                if condition is not None and number in looks[:-1]:
                    few = condition.first(watched)
                    history.append(self._lesion_maps(latents[:watched], timestep, few, maps))
                doubled = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
                doubled = doubled.to(self.unet.dtype)
                if condition is not None and number == len(scheduler.timesteps) - 1:
                    with captured(self._eager_unet, side, maps) as read:
                        read.rows = slice(len(prompts), None)
                        read.positions, read.ends = condition.positions, condition.ends
                        read.keep_self = True
                        output = self._eager_unet.forward(doubled, timestep, both).sample
                    with exact(device):
                        lesion = read.cross_maps()[:, 0]
                        attention = propagate(lesion, read.self_map(), annotation.tau)
                    history.append(lesion[:watched])
                else:
                    output = self.unet(doubled, timestep, both).sample
                plain, prompted = output.float().chunk(2)
                output = classifier_free(plain, prompted, guidance_scale, guidance_rescale)
                latents = scheduler.step(output, timestep, latents, **extra).prev_sample
                bar.update()
        drawn = self._output(latents, attention, annotation)
        if looks:
            drawn.history = torch.stack(history, 1).cpu().numpy()
        if output_type == "pil":
            drawn = drawn.pictures()
        self.maybe_free_model_hooks()
        return drawn

    @property
    def _eager_unet(self) -> UNet2DConditionModel:
        """The UNet itself where `self.unet` is a compiled one; its `forward` is never compiled."""
        return getattr(self.unet, "_orig_mod", self.unet)

    def _guide(
        self,
        latents: Tensor,
        timestep: Tensor,
        condition: Condition,
        eta: float,
        maps: AttentionMaps,
        guidance: Guidance,
    ) -> Tensor:
        """Eq. 6: z - eta grad (L_CA + L_SA), each sample with its own gradient."""
        reading = captured(
            self._eager_unet,
            latents.shape[-1],
            maps,
            cross_attention=guidance.cross_attention,
            self_attention=guidance.self_attention,
        )
        with torch.enable_grad(), reading as read:
            read.early_exit = True
            if guidance.cross_attention:
                read.positions, read.ends = condition.positions, condition.ends
            if guidance.self_attention:
                regions = region_masks(condition.layouts, maps.self_side)
                read.regions = regions.flatten(2).transpose(1, 2)
            latents = latents.detach().requires_grad_()
            with suppress(AllRead):
                scaled = self.scheduler.scale_model_input(latents, timestep)
                self._eager_unet.forward(scaled.to(self.unet.dtype), timestep, condition.context)
            with exact(latents.device):
                loss = torch.zeros((), device=latents.device)
                if guidance.cross_attention:
                    masks = region_masks(condition.layouts, maps.cross_side)
                    loss = layout_loss(
                        read.cross_maps(),
                        masks,
                        guidance.smoothing_sigma,
                        normalised=maps.normalised,
                    ).sum()
                if guidance.self_attention:
                    loss = loss + leak_loss(read.attended_regions(), regions).sum()
            # Gradients of single pixels are below what float16 can hold.
            (gradient,) = torch.autograd.grad(LOSS_SCALE * loss, latents)
        return latents.detach() - eta / LOSS_SCALE * gradient

    def _lesion_maps(
        self, latents: Tensor, timestep: Tensor, condition: Condition, maps: AttentionMaps
    ) -> Tensor:
        """The lesion token's cross-attention (B, S, S), from a pass that ends with it."""
        reading = captured(self._eager_unet, latents.shape[-1], maps, self_attention=False)
        with reading as read:
            read.early_exit = True
            read.positions, read.ends = condition.positions, condition.ends
            with suppress(AllRead):
                scaled = self.scheduler.scale_model_input(latents, timestep)
                self._eager_unet.forward(scaled.to(self.unet.dtype), timestep, condition.context)
        with exact(latents.device):
            return read.cross_maps()[:, 0]

    def _output(
        self, latents: Tensor, attention: Tensor | None, annotation: Annotation
    ) -> LesionPairs:
        """Decode latents (B, 4, h, w) and cut the masks out of attention (B, S, S)."""
        images = levels(decode(self.vae, latents)).movedim(1, -1).cpu().numpy()
        if attention is None:
            return LesionPairs(images)
        masks = binarise(attention, images.shape[1], annotation.closing)
        return LesionPairs(images, masks, attention.cpu().numpy())


def draw(
    pipeline: LesionPairPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    layouts: Tensor | None = None,
    watched: int = 0,
) -> LesionPairs:
    """Draw a batch as a recipe says, as arrays: one seed a sample, the rest as the pipeline's."""
    pipeline.scheduler = scheduler_of(pipeline, sampling.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompts,
        layouts,
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.cfg,
        guidance_rescale=sampling.cfg_rescale,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        maps=sampling.maps,
        guidance=sampling.guidance,
        annotation=sampling.annotation,
        watched=watched,
        output_type="np",
    )


def classifier_free(plain: Tensor, prompted: Tensor, scale: float, rescale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022), rescaled (Lin et al., WACV 2024, Section 3.4).

    plain, prompted: predictions (B, C, h, w) without and with the prompt; rescale: in [0, 1], how
    far the guided prediction's deviation is brought to that of the prompted one, sample by sample.
    """
    prediction = plain + scale * (prompted - plain)
    return rescale_noise_cfg(prediction, prompted, rescale) if rescale else prediction


def as_layouts(masks: Masks, count: int) -> Tensor:
    """Layouts (count, 1, H, H) float in [0, 1] of what a caller has; ValueError where it is not."""
    if isinstance(masks, Image.Image):
        masks = [masks]
    if not isinstance(masks, Tensor | np.ndarray):
        masks = np.stack(
            [
                np.asarray(mask.convert("L"), np.float32) / 255
                if isinstance(mask, Image.Image)
                else np.asarray(mask)
                for mask in masks
            ]
        )
    layouts = torch.as_tensor(masks).float()
    layouts = layouts[:, None] if layouts.ndim == 3 else layouts
    if layouts.ndim != 4 or layouts.shape[:2] != (count, 1) or layouts.shape[2] != layouts.shape[3]:
        raise ValueError(f"masks of {count} prompts are ({count}, 1, H, H), not {masks.shape}")
    if not bool(((layouts >= 0) & (layouts <= 1)).all()):
        raise ValueError("masks lie in [0, 1]; divide levels of 0 to 255 by 255")
    return layouts


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Ask for no gradients of a module's weights for a while."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
