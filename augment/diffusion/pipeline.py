"""The pipeline: prompts, layouts and generators in, images and their annotated masks out.

Notable choices:
- One noise and one generator a sample: the batch it is in does not matter.
- The guided pass asks for no weight gradients. The annotation's maps come from the conditional half
  of the last ordinary pass, unless a recipe names the noise level that they are read at.
- Latents are float32 between the passes, whatever the weights are kept in.
- Only the ordinary passes go through a compiled UNet: capture changes processors as it goes.
- Maps that are only looked at come from passes of their own, so that no sample's bits hang on it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from didgen.augment.diffusion.annotation import annotate, flow
from didgen.augment.diffusion.attention import Maps, captured
from didgen.augment.diffusion.autoencoder import decode, levels
from didgen.augment.diffusion.losses import normalise
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.augment.diffusion.noise import TrySeed, generator_of, initial_noise
from didgen.augment.diffusion.p_tokens import end_positions, p_token_positions, tokenize
from didgen.augment.diffusion.schedulers import check_timestep, scheduler_of, step_sizes
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps, Guidance, Sampling
from didgen.manifests.views.attention_maps import moments

Masks = Tensor | np.ndarray | Image.Image | Sequence[Image.Image | np.ndarray | Tensor]
"""What a caller may have for layouts."""


@dataclass
class LesionPairs(BaseOutput):
    """A batch as it was drawn.

    images: (B, H, W, 3) uint8, or B PIL images; masks: (B, H, W) bool, or B PIL images of 0 and
    255, or None where no layout was given; attention: the maps that the masks were cut from,
    (B, S, S) in [0, 1], or None; contrast and separability: (B,) each, how clearly these maps part
    (see `Annotated`), or None; history: the lesion token's cross-attention of the first W samples
    at the steps of `moments`, (W, T, S, S), the last as it was annotated, or None where none was
    watched.
    """

    images: Any
    masks: Any = None
    attention: np.ndarray | None = None
    contrast: np.ndarray | None = None
    separability: np.ndarray | None = None
    history: np.ndarray | None = None

    def pictures(self) -> "LesionPairs":
        """The same batch as PIL images."""
        masks = self.masks
        if masks is not None:
            masks = [Image.fromarray(mask).convert("L") for mask in masks]
        images = [Image.fromarray(image) for image in self.images]
        figures = (self.attention, self.contrast, self.separability, self.history)
        return LesionPairs(images, masks, *figures)


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
        latents: Tensor | None = None,
        maps: AttentionMaps = AttentionMaps(),  # noqa: B008 - immutable
        guidance: Guidance = Guidance(),  # noqa: B008
        annotation: Annotation = Annotation(),  # noqa: B008
        watched: int = 0,
        output_type: str = "pil",
    ) -> LesionPairs:
        """Draw one image a prompt; with masks also guide it (Eq. 6) and annotate it (Eq. 7).

        masks: the layouts, B PIL images or arrays, or (B, H, H) or (B, 1, H, H) in [0, 1], or None
        for plain classifier-free sampling; generator: B of them, one a sample, as diffusers takes
        them; latents: standard normal noise (B, 4, h, w) to begin with, else drawn from the
        generators; watched: samples, the first of the batch, whose `history` is kept where they
        have masks; output_type: "pil" or "np". Raises DidgenError for a prompt that is to be guided
        and has not both P-Tokens, and for a model without attention maps of the sides, or without
        the timestep, that are read; ValueError for masks of another number, shape or range.
        """
        if output_type not in ("pil", "np"):
            raise ValueError(f"output_type is pil or np, not {output_type}")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        both, condition = self.conditions(prompts, negative_prompt or "", masks)
        scheduler, device = self.scheduler, self._execution_device
        check_timestep(scheduler, annotation)
        scheduler.set_timesteps(num_inference_steps, device=device)
        latents = start = self.prepare_latents(
            len(prompts),
            self.unet.config.in_channels,
            self.image_size,
            self.image_size,
            torch.float32,
            device,
            generator,
            latents,
        )
        # Schedulers that draw noise as they go draw it from the samples' own generators.
        extra = self.prepare_extra_step_kwargs(generator, 0.0)
        etas = step_sizes(guidance, scheduler.timesteps.tolist())
        reader = MapReader(self._eager_unet, scheduler, maps)
        history: list[Tensor] = []
        read: Maps | None = None
        looks = moments(len(scheduler.timesteps)) if condition is not None and watched else []
        with frozen(self.unet), self.progress_bar(total=len(scheduler.timesteps)) as bar:
            for number, timestep in enumerate(scheduler.timesteps):
                if condition is not None and etas[number] > 0:
                    latents = self._guide(
                        latents, timestep, condition, etas[number], maps, guidance
                    )
                if condition is not None and number in looks[:-1]:
                    few = condition.first(watched)
                    history.append(reader.lesion_maps(latents[:watched], timestep, few))
                last = number == len(scheduler.timesteps) - 1
                annotated = condition if last and annotation.timestep is None else None
                plain, prompted, read = self._predict(latents, timestep, both, annotated, maps)
                output = classifier_free(plain, prompted, guidance_scale, guidance_rescale)
                latents = scheduler.step(output, timestep, latents, **extra).prev_sample
                bar.update()
            if condition is not None and annotation.timestep is not None:
                noise = start / scheduler.init_noise_sigma
                read = reader.noised(latents, annotation.timestep, noise, condition)
        drawn = self._output(latents, read, annotation)
        if looks:
            assert read is not None
            history.append(read.cross_maps()[:watched, 0])
            drawn.history = torch.stack(history, 1).cpu().numpy()
        if output_type == "pil":
            drawn = drawn.pictures()
        self.maybe_free_model_hooks()
        return drawn

    def conditions(
        self, prompts: Sequence[str], negative: str, masks: Masks | None
    ) -> tuple[Tensor, Condition | None]:
        """Text embeddings without and with the prompts (2 B, T, C); what pairs are drawn for."""
        device = self._execution_device
        input_ids = tokenize(self.tokenizer, [negative, *prompts]).to(device)
        context = self.text_encoder(input_ids)[0].to(self.unet.dtype)
        both = torch.cat([context[:1].expand(len(prompts), -1, -1), context[1:]])
        if masks is None:
            return both, None
        condition = Condition(
            context[1:],
            p_token_positions(self.tokenizer, input_ids[1:]),
            end_positions(self.tokenizer, input_ids[1:]),
            as_layouts(masks, len(prompts)).to(device),
        )
        return both, condition

    def _predict(
        self,
        latents: Tensor,
        timestep: Tensor,
        both: Tensor,
        annotated: Condition | None,
        maps: AttentionMaps,
    ) -> tuple[Tensor, Tensor, Maps | None]:
        """Predictions without and with the prompts, and the maps of the latter if asked for."""
        doubled = self.scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
        doubled = doubled.to(self.unet.dtype)
        if annotated is None:
            output, read = self.unet(doubled, timestep, both).sample, None
        else:
            with captured(self._eager_unet, latents.shape[-1], maps) as read:
                read.rows = slice(len(latents), None)
                read.positions, read.ends = annotated.positions, annotated.ends
                read.keep_self = True
                output = self._eager_unet.forward(doubled, timestep, both).sample
        plain, prompted = output.float().chunk(2)
        return plain, prompted, read

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
        reader = MapReader(self._eager_unet, self.scheduler, maps)
        return latents - eta * reader.gradient(latents, timestep, condition, guidance)

    def _output(self, latents: Tensor, read: Maps | None, annotation: Annotation) -> LesionPairs:
        """Decode latents (B, 4, h, w) and cut the masks out of the maps that were read."""
        images = levels(decode(self.vae, latents)).movedim(1, -1).cpu().numpy()
        if read is None:
            return LesionPairs(images)
        with exact(latents.device):
            attention = flow(read.cross_maps()[:, 0], read.self_map(), annotation.tau)
        cut = annotate(attention, images.shape[1], annotation)
        shown = normalise(attention).cpu().numpy()
        return LesionPairs(images, cut.masks, shown, cut.contrast, cut.separability)


def draw(
    pipeline: LesionPairPipeline,
    prompts: Sequence[str],
    seeds: Sequence[TrySeed],
    sampling: Sampling,
    layouts: Tensor | None = None,
    watched: int = 0,
) -> LesionPairs:
    """Draw a batch as a recipe says, as arrays: one seed a sample, the rest as the pipeline's."""
    pipeline.scheduler = scheduler_of(pipeline, sampling.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    config = pipeline.unet.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    return pipeline(
        prompts,
        layouts,
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.cfg,
        guidance_rescale=sampling.cfg_rescale,
        generator=[generator_of(seed) for seed in seeds],
        latents=initial_noise(seeds, shape),
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
