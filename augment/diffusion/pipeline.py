"""The pipeline: prompts, layouts and generators in, images and their annotated masks out.

Notable choices:
- It is called as diffusers' own text-to-image pipelines are, and gives what they give; layouts,
  maps and masks come on top.
- One noise and one generator a sample: the batch it is in does not matter.
- Maps that are only looked at come from passes of their own, so that no sample's bits hang on it.
- No safety checker is asked: none knows skin lesions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import retrieve_timesteps
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from didgen.augment.conditioning.p_tokens import end_positions, p_token_positions, tokenize
from didgen.augment.conditioning.texts import encoded
from didgen.augment.device import exact
from didgen.augment.diffusion.annotation import annotate, flow
from didgen.augment.diffusion.attention import own_side
from didgen.augment.diffusion.autoencoder import check_output, shown
from didgen.augment.diffusion.denoising import Denoising, Step, eager, frozen
from didgen.augment.diffusion.guidance import MapGuidance, guidance_of, guided_by
from didgen.augment.diffusion.images import Masks, as_layouts
from didgen.augment.diffusion.losses import normalise
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.augment.diffusion.noise import TrySeed, generator_of, initial_noise
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.augment.models.configs import check_timestep
from didgen.augment.variety.classifier_free import ClassifierFree
from didgen.augment.variety.start import Start
from didgen.augment.variety.variety import Variety
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps, Guidance, Sampling

StepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]
"""What is called at the end of a step: pipeline, number, timestep and tensors in, tensors out."""

AnyStepEnd: TypeAlias = StepEnd | PipelineCallback | MultiPipelineCallbacks | None


@dataclass
class LesionPairs(BaseOutput):
    """A batch as it was drawn.

    images: as `output_type` says: B PIL images; (B, H, W, 3) or (B, 3, H, W) float32 in [0, 1];
    finished latents (B, 4, h, w); or, from `draw`, (B, H, W, 3) uint8. masks: B PIL images of 0 and
    255 beside PIL images, else (B, H, W) bool, or None where no layout was given; attention: the
    maps that masks are cut from, (B, S, S) in [0, 1], or None; contrast and separability: (B,)
    each, how clearly these maps part (see `Annotated`), or None; history: the lesion token's
    cross-attention of the first W samples at the steps of `moments`, (W, T, S, S), the last as it
    was annotated, or None where none was watched. Maps of images that are not square are not.
    """

    images: Any
    masks: Any = None
    attention: np.ndarray | None = None
    contrast: np.ndarray | None = None
    separability: np.ndarray | None = None
    history: np.ndarray | None = None


class Texts(NamedTuple):
    """What a call asks for, in words or as embeddings, and what it stays away from."""

    prompt: list[str] | None
    negative: str | Sequence[str] | None
    embeds: Tensor | None
    negative_embeds: Tensor | None


class StepEnds(NamedTuple):
    """What is called at the ends of steps, and the tensors that it is given."""

    callback: AnyStepEnd
    wanted: Sequence[str]

    @classmethod
    def of(cls, callback: AnyStepEnd, named: Sequence[str]) -> Self:
        """A callback with the tensors that it names itself, or with those of the call."""
        if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
            named = callback.tensor_inputs
        return cls(callback, named)

    def given(self, latents: Tensor, embeds: Tensor) -> dict[str, Any]:
        """The tensors of a step by their names; embeds: as a batch has them."""
        negative = embeds[: -len(latents)] if len(embeds) > len(latents) else None
        named = {"prompt_embeds": embeds, "negative_prompt_embeds": negative, "latents": latents}
        return {name: named[name] for name in self.wanted}


class LesionPairPipeline(StableDiffusionPipeline):
    """DiDGen's sampler over any Stable Diffusion model with P-Tokens.

    `LesionPairPipeline.from_pretrained(folder)` loads what `didgen finetune` left; a scheduler is
    put in by `pipeline.scheduler = scheduler_of(pipeline, "ddim")`.
    """

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **parts: Any) -> Self:
        """A pipeline over the parts of another one; `parts` replaces some.

        diffusers itself would leave out an autoencoder that is no AutoencoderKL.
        """
        made: Self = super().from_pipe(pipeline, **{"vae": pipeline.vae} | parts)
        return made

    @property
    def image_size(self) -> int:
        """Side of the images the model was trained for, in pixels; the shorter one."""
        return own_side(self.unet) * int(self.vae_scale_factor)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        masks: Masks | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 20,
        timesteps: list[int] | None = None,
        sigmas: list[float] | None = None,
        guidance_scale: float = 7.5,
        guidance_rescale: float = 0.0,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        maps: AttentionMaps = AttentionMaps(),  # noqa: B008 - immutable
        guidance: Guidance | MapGuidance = Guidance(),  # noqa: B008
        annotation: Annotation = Annotation(),  # noqa: B008
        variety: Variety = Variety(),  # noqa: B008
        start: Start | None = None,
        watched: int = 0,
        output_type: str = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: AnyStepEnd = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> LesionPairs | tuple[Any, Any]:
        """Draw images; with masks also guide them (Eq. 6) and annotate them (Eq. 7).

        masks: a layout for each prompt, PIL images or arrays, (B, H, W) or (B, 1, H, W) in [0, 1],
        in the proportions of the image, or None for plain classifier-free sampling; latents:
        standard normal noise (B, 4, h, w) to begin with, or to add to `start`, images of which the
        samples are variations; variety: what a recipe's `sampling` asks of the steps beside
        `guidance`; watched: samples, the first of the batch, whose `history` is kept where they
        have masks. All else is as in `StableDiffusionPipeline`. Without `return_dict`: (images,
        masks). Raises DidgenError for a prompt that is to be guided without both P-Tokens, and a
        model without the attention maps or the timestep that are read; ValueError for masks of
        another number, proportion or range, an unknown `output_type`, and a weaker model beside
        negative prompts or embeddings.
        """
        self._guidance_scale, self._guidance_rescale = guidance_scale, guidance_rescale
        self._cross_attention_kwargs, self._interrupt = cross_attention_kwargs, False
        size, device = self._size(height, width, latents), self._execution_device
        texts = Texts(listed(prompt), negative_prompt, prompt_embeds, negative_prompt_embeds)
        ends = StepEnds.of(callback_on_step_end, callback_on_step_end_tensor_inputs)
        layouts = self._checked(texts, masks, size, ends, output_type)
        embeds, count, condition = self._conditioned(texts, layouts, variety, num_images_per_prompt)
        retrieve_timesteps(self.scheduler, num_inference_steps, device, timesteps, sigmas)
        shape = (count, self.unet.config.in_channels, *size)
        latents = self.prepare_latents(*shape, torch.float32, device, generator, latents).float()
        besides = (watched, self.prepare_extra_step_kwargs(generator, eta), variety, generator)
        reader, by_maps = self._reader(maps), guided_by(guidance)
        batch = Denoising(self.unet, reader, by_maps, embeds, condition, *besides)
        latents = self._denoised(batch, latents, start, annotation, ends)
        drawn = self._output(latents, batch, annotation, output_type)
        return drawn if return_dict else (drawn.images, drawn.masks)

    def _checked(
        self, texts: Texts, masks: Masks | None, size: tuple[int, int], ends: StepEnds, output: str
    ) -> Tensor | None:
        """The layouts of a call, if any; raises as the call does, where it cannot be answered."""
        asked: dict[str, Any] = {"callback_on_step_end_tensor_inputs": ends.wanted}
        self.check_inputs(texts.prompt, *size, None, *texts[1:], **asked)
        check_output(output)
        if texts.prompt is not None and not texts.prompt:
            raise ValueError("prompt is an empty list; give at least one")
        if masks is None:
            return None
        if texts.prompt is None:
            raise ValueError("masks need `prompt` in words, with <lesion> and <skin> in it")
        return as_layouts(masks, len(texts.prompt), size)

    def _denoised(
        self,
        batch: Denoising,
        latents: Tensor,
        start: Start | None,
        annotation: Annotation,
        ends: StepEnds,
    ) -> Tensor:
        """Latents (B, 4, h, w) of noise, or of images that are varied, on all their way."""
        check_timestep(self.scheduler.config.num_train_timesteps, annotation)
        noise, first = latents / self.scheduler.init_noise_sigma, 0
        if start is not None:
            first, latents = start.begin(self.scheduler, noise)
        with frozen(self.unet):
            latents = self._go(batch, batch.steps(annotation, first), latents, ends)
        if not self.interrupt:
            batch.annotate_at(annotation.timestep, latents, noise)
        return latents

    def _go(self, batch: Denoising, steps: list[Step], latents: Tensor, ends: StepEnds) -> Tensor:
        """Latents after the steps, or where a callback interrupts, after those until then."""
        self._num_timesteps = len(steps)
        with self.progress_bar(total=len(steps)) as bar:
            for number, step in enumerate(steps):
                if self.interrupt:
                    break
                on = self.do_classifier_free_guidance
                free = ClassifierFree(on, self._guidance_scale, self._guidance_rescale)
                latents = batch.advance(latents, step, free)
                if ends.callback is not None:
                    given = ends.given(latents, batch.embeds)
                    changed = ends.callback(self, number, step.timestep, given)
                    latents = changed.get("latents", latents)
                    batch.embeds = changed.get("prompt_embeds", batch.embeds)
                bar.update()
        return latents

    def texts(
        self,
        prompt: str | Sequence[str] | None,
        negative_prompt: str | Sequence[str] | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        *,
        copies: int = 1,
        free: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Text embeddings (B, T, C) with the prompts, and where guidance is `free` without them.

        copies: images of a prompt, which lie side by side.
        """
        device, dtype = self._execution_device, self.unet.dtype
        prompts = listed(prompt) or []
        count = len(prompts) if prompt_embeds is None else len(prompt_embeds)
        without: list[str] = []
        if free and negative_prompt_embeds is None:
            without = negatives(negative_prompt, count)
        if without or prompts:
            context = encoded(self, [*without, *prompts])
            # Beside given embeddings of the one kind, only the other is encoded.
            prompt_embeds = context[len(without) :] if prompts else prompt_embeds
            negative_prompt_embeds = context[: len(without)] if without else negative_prompt_embeds
        assert prompt_embeds is not None
        embeds = prompt_embeds.to(device, dtype).repeat_interleave(copies, 0)
        if not free:
            return embeds, None
        assert negative_prompt_embeds is not None
        negative = negative_prompt_embeds.to(device, dtype).expand(count, -1, -1)
        return embeds, negative.repeat_interleave(copies, 0)

    def _conditioned(
        self, asked: Texts, layouts: Tensor | None, variety: Variety, copies: int
    ) -> tuple[Tensor, int, Condition | None]:
        """Embeddings as a batch has them, how many are of prompts, and what pairs are drawn for.

        A weaker model's embeddings take the place of those without the prompts.
        """
        if variety.weaker is not None:
            if asked.prompt is None or asked.negative or asked.negative_embeds is not None:
                raise ValueError("a weaker model needs `prompt` in words, and no negative prompt")
            theirs = variety.weaker.texts(tokenize(self.tokenizer, asked.prompt))
            asked = asked._replace(negative=None, negative_embeds=theirs)
        free = self.do_classifier_free_guidance
        embeds, negative = self.texts(*asked, copies=copies, free=free)
        both = embeds if negative is None else torch.cat([negative, embeds])
        if asked.prompt is None or layouts is None:
            return both, len(embeds), None
        return both, len(embeds), self.condition(asked.prompt, embeds, layouts)

    def condition(self, prompts: Sequence[str], embeds: Tensor, layouts: Tensor) -> Condition:
        """What pairs are drawn for; layouts: (P, 1, H, W), of P prompts with B / P images each."""
        copies = len(embeds) // len(prompts)
        input_ids = tokenize(self.tokenizer, list(prompts)).to(embeds.device)
        return Condition(
            embeds,
            p_token_positions(self.tokenizer, input_ids).repeat_interleave(copies, 0),
            end_positions(self.tokenizer, input_ids).repeat_interleave(copies, 0),
            layouts.to(embeds.device).repeat_interleave(copies, 0),
        )

    def _size(
        self, height: int | None, width: int | None, latents: Tensor | None
    ) -> tuple[int, int]:
        """Height and width of the images in pixels: those of the latents, or as asked."""
        own = self.unet.config.sample_size
        if latents is not None:
            own, height, width = latents.shape[-2:], None, None
        own = (own, own) if isinstance(own, int) else own
        factor = int(self.vae_scale_factor)
        return height or own[0] * factor, width or own[1] * factor

    def _reader(self, maps: AttentionMaps) -> MapReader:
        """The UNet and its maps, with what it is called with besides latents, timestep and text."""
        further: dict[str, Any] = {}
        if self._cross_attention_kwargs is not None:
            further["cross_attention_kwargs"] = self._cross_attention_kwargs
        width = self.unet.config.time_cond_proj_dim
        if width is not None:
            # A distilled model is given the scale instead of a second half.
            scale = torch.tensor([self._guidance_scale - 1.0])
            embedding = self.get_guidance_scale_embedding(scale, embedding_dim=width)
            further["timestep_cond"] = embedding.to(self._execution_device, self.unet.dtype)
        return MapReader(eager(self.unet), self.scheduler, maps, further)

    def _output(
        self, latents: Tensor, batch: Denoising, annotation: Annotation, output_type: str
    ) -> LesionPairs:
        """Decode latents (B, 4, h, w), and cut the masks out of the maps that were read."""
        drawn = LesionPairs(shown(self.vae, latents, output_type))
        self.maybe_free_model_hooks()
        if batch.read is None:
            return drawn
        read, factor = batch.read, int(self.vae_scale_factor)
        with exact(latents.device):
            cross = read.cross_maps()
            attention = flow(cross[:, 0], read.self_map(), annotation.tau, read.self_shape)
        height, width = (factor * extent for extent in latents.shape[-2:])
        layouts = None if batch.condition is None else batch.condition.layouts
        cut = annotate(attention, (height, width), annotation, layouts)
        drawn.masks = cut.masks
        if output_type == "pil":
            drawn.masks = [Image.fromarray(mask).convert("L") for mask in cut.masks]
        drawn.attention = normalise(attention).cpu().numpy()
        drawn.contrast, drawn.separability = cut.contrast, cut.separability
        if batch.watched:
            maps = [*batch.history, cross[: batch.watched, 0]]
            drawn.history = torch.stack(maps, 1).cpu().numpy()
        return drawn


def draw(
    pipeline: LesionPairPipeline,
    prompts: Sequence[str],
    seeds: Sequence[TrySeed],
    sampling: Sampling,
    layouts: Tensor | None = None,
    **besides: Any,
) -> LesionPairs:
    """Draw a batch as a recipe says, as uint8 and boolean arrays, of the model's own size.

    One seed a sample; besides: what else the pipeline is called with, such as `watched`.
    """
    pipeline.scheduler = scheduler_of(pipeline, sampling.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    config = pipeline.unet.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    drawn = pipeline(
        prompts,
        layouts,
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.cfg,
        guidance_rescale=sampling.cfg_rescale,
        generator=[generator_of(seed) for seed in seeds],
        latents=initial_noise(seeds, shape),
        maps=sampling.maps,
        guidance=guidance_of(sampling),
        eta=sampling.ddim_eta,
        annotation=sampling.annotation,
        output_type="np",
        **{"variety": Variety.of(sampling)} | besides,
    )
    assert isinstance(drawn, LesionPairs)
    drawn.images = np.rint(255 * drawn.images).astype(np.uint8)
    return drawn


def listed(prompt: str | Sequence[str] | None) -> list[str] | None:
    """The prompts of a call, of which one may stand alone."""
    if isinstance(prompt, str):
        return [prompt]
    return None if prompt is None else list(prompt)


def negatives(negative: str | Sequence[str] | None, count: int) -> list[str]:
    """The prompts to stay away from: one for all samples, or one each; ValueError for others."""
    if negative is None or isinstance(negative, str):
        return [negative or ""]
    if len(negative) != count:
        raise ValueError(f"negative_prompt has {len(negative)} prompts for {count} of prompt")
    return list(negative)
