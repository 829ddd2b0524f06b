"""The denoising: one batch on its way from noise to finished latents, step by step.

Notable choices:
- What a step does beside its ordinary pass is planned before the first: guidance, watch, annotate.
- Classifier-free guidance doubles the batch where its scale is over 1. Annotation reads the
  conditional half of the last ordinary pass.
- A step that is guided after its pass takes its halves one by one: only one of them has a gradient.
- Only ordinary passes go through a compiled UNet: capture changes processors as it goes.
- Latents are float32 between the passes, whatever the weights are kept in.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor, nn

from didgen.augment.diffusion.attention import Maps
from didgen.augment.diffusion.guidance import Look, MapGuidance, Moment, looking, noise_share
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.manifests.recipes.sampling import Annotation
from didgen.manifests.views.attention_maps import moments


@dataclass(frozen=True)
class Step(Moment):
    """What is done at a timestep beside its ordinary pass.

    watched: whether the lesion's maps are looked at before the pass; annotated: whether the masks'
    maps are read of it.
    """

    watched: bool = False
    annotated: bool = False


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance of a step; on: whether there are predictions without the prompt."""

    on: bool
    scale: float
    rescale: float = 0.0


@dataclass
class Denoising:
    """A batch that is denoised.

    unet: as the pipeline has it, compiled or not; embeds: text embeddings (2 B, T, C), those
    without the prompts first, or (B, T, C); condition: what pairs are drawn for, None for images;
    watched: how many samples, the first of the batch, are looked at; extra: what the scheduler's
    steps take besides. read: the maps that masks are cut from, once they are there; history: the
    lesion token's maps (W, h, w) at the steps that were watched.
    """

    unet: nn.Module
    reader: MapReader
    guidance: MapGuidance
    embeds: Tensor
    condition: Condition | None
    watched: int
    extra: Mapping[str, Any]
    read: Maps | None = None
    history: list[Tensor] = field(default_factory=list)

    def steps(self, annotation: Annotation) -> list[Step]:
        """The steps of the scheduler, which for images are ordinary passes alone.

        The last one's maps are watched as they are annotated, and not before the pass.
        """
        timesteps = self.reader.scheduler.timesteps
        if self.condition is None:
            return [Step(timestep) for timestep in timesteps]
        last = len(timesteps) - 1
        looks = set(moments(len(timesteps))) - {last} if self.watched else set()
        etas, apart = self.guidance.step_sizes(timesteps.tolist()), annotation.timestep is not None
        return [
            Step(
                timestep,
                etas[place],
                place / len(timesteps),
                place in looks,
                place == last and not apart,
            )
            for place, timestep in enumerate(timesteps)
        ]

    def advance(self, latents: Tensor, step: Step, free: ClassifierFree) -> Tensor:
        """Latents (B, 4, h, w) one step on."""
        condition = self._condition(len(latents))
        look = None
        if step.eta > 0 and self.guidance.update == "before":
            assert condition is not None
            with looking(self.reader, self.guidance, latents, step, condition) as seen:
                latents = self.guidance.move(latents, seen)
        if step.watched:
            assert condition is not None
            few = condition.first(self.watched)
            self.history.append(
                self.reader.lesion_maps(latents[: self.watched], step.timestep, few)
            )
        if step.eta > 0 and self.guidance.update == "after":
            plain, prompted, look = self._looked_at(latents, step, free)
        else:
            plain, prompted = self._predicted(latents, step, free)
        output = prompted
        if plain is not None:
            output = classifier_free(plain, prompted, free.scale, free.rescale)
        scheduler = self.reader.scheduler
        latents = scheduler.step(output, step.timestep, latents, **self.extra).prev_sample
        if look is not None:
            with torch.enable_grad():
                latents = self.guidance.move(latents, look)
        return latents

    def annotate_at(self, timestep: int, latents: Tensor, noise: Tensor) -> None:
        """Read the maps that masks are cut from of finished latents, noised to a timestep."""
        condition = self._condition(len(latents))
        assert condition is not None
        self.read = self.reader.noised(latents, timestep, noise, condition)

    def _condition(self, count: int) -> Condition | None:
        """What the pairs are drawn for, by the text embeddings of now."""
        if self.condition is None:
            return None
        return replace(self.condition, context=self.embeds[-count:])

    def _predicted(
        self, latents: Tensor, step: Step, free: ClassifierFree
    ) -> tuple[Tensor | None, Tensor]:
        """Predictions (B, 4, h, w) without and with the prompts, of one pass."""
        reader, count = self.reader, len(latents)
        given = torch.cat([latents, latents]) if free.on else latents
        embeds = self.embeds if free.on else self.embeds[-count:]
        given = reader.scheduler.scale_model_input(given, step.timestep)
        if not step.annotated:
            output = self._whole_pass(given, step.timestep, embeds)
        else:
            with reader.reading(latents) as read:
                read.rows = slice(-count, None)
                self._ask_for_masks(read)
                output = reader.predict(given, step.timestep, embeds)
        return (output[:count], output[count:]) if free.on else (None, output)

    def _looked_at(
        self, latents: Tensor, step: Step, free: ClassifierFree
    ) -> tuple[Tensor | None, Tensor, Look]:
        """Both predictions, and the guidance's look at the pass with the prompts."""
        reader, condition = self.reader, self._condition(len(latents))
        assert condition is not None
        cross, own = self.guidance.reads
        reading = reader.reading(
            latents,
            cross_attention=cross or step.annotated,
            self_attention=own or step.annotated,
        )
        scale = reader.scheduler.scale_model_input
        with torch.enable_grad(), reading as read:
            self.guidance.ask(read, condition)
            if step.annotated:
                self._ask_for_masks(read)
            seen = latents.detach().requires_grad_()
            read.early_end = "gradients"
            prompted = reader.predict(scale(seen, step.timestep), step.timestep, condition.context)
        plain = None
        if free.on:
            without = self.embeds[: len(latents)]
            plain = self._whole_pass(scale(latents, step.timestep), step.timestep, without)
        spread = noise_share(reader, step.timestep)
        look = Look(seen, read, condition, step.eta, step.progress, spread)
        return plain, prompted.detach(), look

    def _ask_for_masks(self, read: Maps) -> None:
        """Ask a pass for the maps that masks are cut from."""
        assert self.condition is not None
        read.positions, read.ends = self.condition.positions, self.condition.ends
        read.keep_self = True
        self.read = read

    def _whole_pass(self, scaled: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """An ordinary pass, compiled where the UNet is."""
        unet, reader = self.unet, self.reader
        given = scaled.to(reader.unet.dtype)
        output: Tensor = unet(given, timestep, context, **reader.further).sample
        return output.float()


def eager(unet: nn.Module) -> UNet2DConditionModel:
    """The UNet itself where a pipeline has a compiled one."""
    return getattr(unet, "_orig_mod", unet)


def classifier_free(plain: Tensor, prompted: Tensor, scale: float, rescale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022), rescaled (Lin et al., WACV 2024, Section 3.4).

    plain, prompted: predictions (B, C, h, w) without and with the prompt; rescale: in [0, 1], how
    far the guided prediction's deviation is brought to that of the prompted one, sample by sample.
    """
    prediction = plain + scale * (prompted - plain)
    return rescale_noise_cfg(prediction, prompted, rescale) if rescale else prediction


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
