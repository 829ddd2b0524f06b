"""The denoising: one batch on its way from noise to finished latents, step by step.

Notable choices:
- What a step does beside its ordinary pass is planned before the first: guidance, watch, annotate.
- Classifier-free guidance doubles the batch where its scale is over 1 and the noise level is one of
  its own. Annotation reads the conditional half of the last ordinary pass.
- A prompt is annealed in ordinary passes alone. Passes that only maps are read of have it whole,
  since a layout is not what varies.
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
from diffusers.utils.torch_utils import randn_tensor
from torch import Generator, Tensor, nn

from didgen.augment.conditioning.texts import conditions
from didgen.augment.diffusion.attention import Maps
from didgen.augment.diffusion.guidance import Look, MapGuidance, Moment, looking, noise_share
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.augment.diffusion.schedulers import keep_moves
from didgen.augment.variety.annealing import annealed, wholeness
from didgen.augment.variety.classifier_free import (
    ClassifierFree,
    CleanLatents,
    Projected,
    classifier_free,
    noise_level,
    within,
)
from didgen.augment.variety.variety import Variety
from didgen.manifests.recipes.sampling import Annotation, ProjectedGuidance
from didgen.manifests.views.attention_maps import moments


@dataclass(frozen=True)
class Step(Moment):
    """What is done at a timestep beside its ordinary pass.

    watched: whether the lesion's maps are looked at before the pass; annotated: whether the masks'
    maps are read of it.
    """

    watched: bool = False
    annotated: bool = False


@dataclass
class Denoising:
    """A batch that is denoised.

    unet: as the pipeline has it, compiled or not; embeds: text embeddings (2 B, T, C), those
    without the prompts, or of the weaker model, first, or (B, T, C); condition: what pairs are
    drawn for, None for images; watched: how many samples, the first of the batch, are looked at;
    extra: what the scheduler's steps take besides; generator: what prompts' noise is drawn by, one
    for all or one a sample. read: the maps that masks are cut from, once they are there; history:
    the lesion token's maps (W, h, w) at the steps that were watched.
    """

    unet: nn.Module
    reader: MapReader
    guidance: MapGuidance
    embeds: Tensor
    condition: Condition | None
    watched: int
    extra: Mapping[str, Any]
    variety: Variety = field(default_factory=Variety)
    generator: Generator | list[Generator] | None = None
    read: Maps | None = None
    history: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._projected = Projected(self.variety.apg)

    def steps(self, annotation: Annotation, first: int = 0) -> list[Step]:
        """The steps of the scheduler, the first of them on, which for images are passes alone.

        The last one's maps are watched as they are annotated, and not before the pass.
        """
        timesteps = self.reader.scheduler.timesteps[first:]
        if self.condition is None:
            return [Step(timestep) for timestep in timesteps]
        last = len(timesteps) - 1
        looks = set(moments(len(timesteps))) - {last} if self.watched else set()
        etas, apart = self.guidance.step_sizes(timesteps.tolist()), annotation.timestep is not None
        keep_moves(self.reader.scheduler, etas, self.guidance.update)
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
        scheduler, condition, look = self.reader.scheduler, self._condition(len(latents)), None
        if not within(noise_level(scheduler, step.timestep), self.variety.interval):
            free = replace(free, on=False)
        embeds = self._annealed(step, len(latents))
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
            plain, prompted, look = self._looked_at(latents, step, embeds, free)
        else:
            plain, prompted = self._predicted(latents, step, embeds, free)
        output = prompted
        if plain is not None:
            output = self._guided(plain, prompted, latents, step, free)
        latents = scheduler.step(output, step.timestep, latents, **self.extra).prev_sample
        if look is not None:
            with torch.enable_grad():
                latents = self.guidance.move(latents, look)
        return latents

    def annotate_at(self, timestep: int | None, latents: Tensor, noise: Tensor) -> None:
        """Read the maps that masks are cut from of finished latents, noised to a timestep.

        Nothing for images, and without a timestep: the last step's maps were read.
        """
        condition = self._condition(len(latents))
        if condition is not None and timestep is not None:
            self.read = self.reader.noised(latents, timestep, noise, condition)

    def _condition(self, count: int) -> Condition | None:
        """What the pairs are drawn for, by the text embeddings of now."""
        if self.condition is None:
            return None
        return replace(self.condition, context=self.embeds[-count:])

    def _annealed(self, step: Step, count: int) -> Tensor:
        """The text embeddings of a step; those of prompts with the noise of the samples' seeds."""
        asked, scheduler = self.variety.cads, self.reader.scheduler
        time = float(step.timestep) / scheduler.config.num_train_timesteps
        if (share := wholeness(asked, time)) == 1:
            return self.embeds
        prompts = self.embeds[-count:]
        noise = randn_tensor(prompts.shape, self.generator, prompts.device, prompts.dtype)
        plain = self.embeds[:-count]
        if self.variety.weaker is not None and len(plain):
            plain = annealed(plain, noise, share, asked)
        return torch.cat([plain, annealed(prompts, noise, share, asked)])

    def _predicted(
        self, latents: Tensor, step: Step, embeds: Tensor, free: ClassifierFree
    ) -> tuple[Tensor | None, Tensor]:
        """Predictions (B, 4, h, w) to lead away from, and with the prompts."""
        reader, count = self.reader, len(latents)
        twice = free.on and self.variety.weaker is None
        given = torch.cat([latents, latents]) if twice else latents
        context = embeds if twice else embeds[-count:]
        given = reader.scheduler.scale_model_input(given, step.timestep)
        if not step.annotated:
            output = self._whole_pass(given, step.timestep, context)
        else:
            with reader.reading(latents) as read:
                read.rows = slice(-count, None)
                self._ask_for_masks(read)
                output = reader.predict(given, step.timestep, context)
        if twice:
            return output[:count], output[count:]
        return (self._plain(given, step, embeds) if free.on else None), output

    def _looked_at(
        self, latents: Tensor, step: Step, embeds: Tensor, free: ClassifierFree
    ) -> tuple[Tensor | None, Tensor, Look]:
        """Both predictions, and the guidance's look at the pass with the prompts."""
        reader, condition = self.reader, self._condition(len(latents))
        assert condition is not None
        condition = replace(condition, context=embeds[-len(latents) :])
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
        plain = self._plain(scale(latents, step.timestep), step, embeds) if free.on else None
        spread = noise_share(reader, step.timestep)
        look = Look(seen, read, condition, step.eta, step.progress, spread)
        return plain, prompted.detach(), look

    def _plain(self, scaled: Tensor, step: Step, embeds: Tensor) -> Tensor:
        """What is led away from: a prediction without prompts, or the weaker model's with them."""
        context, weaker = embeds[: len(scaled)], self.variety.weaker
        if weaker is None:
            return self._whole_pass(scaled, step.timestep, context)
        given = scaled.to(weaker.unet.dtype)
        output: Tensor = weaker.unet(given, step.timestep, context, **self.reader.further).sample
        return output.float()

    def _guided(
        self, plain: Tensor, prompted: Tensor, latents: Tensor, step: Step, free: ClassifierFree
    ) -> Tensor:
        """The prediction of a step by classifier-free guidance, projected where that is asked."""
        if self.variety.apg == ProjectedGuidance():
            return classifier_free(plain, prompted, free.scale, free.rescale)
        scheduler = self.reader.scheduler
        scaled = scheduler.scale_model_input(latents, step.timestep)
        clean = CleanLatents.of(scheduler, step.timestep, scaled)
        return self._projected.guided(plain, prompted, free, clean)

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
        on = conditions(reader.unet, context, given) | dict(reader.further)
        output: Tensor = unet(given, timestep, **on).sample
        return output.float()


def eager(unet: nn.Module) -> UNet2DConditionModel:
    """The UNet itself where a pipeline has a compiled one."""
    return getattr(unet, "_orig_mod", unet)


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
