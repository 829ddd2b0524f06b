"""The denoising: what a step does, against passes and gradients that are taken one by one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from didgen.augment.diffusion.denoising import (
    ClassifierFree,
    Denoising,
    Step,
    classifier_free,
)
from didgen.augment.diffusion.guidance import LayoutGuidance, Look
from didgen.augment.diffusion.losses import layout_loss, leak_loss, region_masks
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps, Guidance
from tests.fixtures.tiny_model import PROMPTS, start

MAPS = AttentionMaps()
FREE = ClassifierFree(True, 3.0)


@pytest.fixture
def denoising(sampler: LesionPairPipeline, disc: Tensor) -> Denoising:
    """Two pairs of ten DDIM steps, guided by Eq. 6."""
    scheduler = scheduler_of(sampler, "ddim")
    scheduler.set_timesteps(10)
    with torch.no_grad():
        embeds, negative = sampler.texts(PROMPTS[:2], free=True)
    assert negative is not None
    condition = sampler.condition(PROMPTS[:2], embeds, torch.cat([disc, disc.flip(-1)]))
    return Denoising(
        sampler.unet,
        MapReader(sampler.unet, scheduler, MAPS),
        LayoutGuidance(Guidance(eta=5)),
        torch.cat([negative, embeds]),
        condition,
        1,
        {},
    )


def advanced(denoising: Denoising, step: Step, latents: Tensor, **fields: Any) -> Tensor:
    """Latents one step on, by a denoising with other fields."""
    with torch.no_grad():
        return replace(denoising, **fields).advance(latents, step, FREE)


def at(denoising: Denoising, place: int, **fields: Any) -> Step:
    return Step(denoising.reader.scheduler.timesteps[place], **fields)


def naive_gradient(denoising: Denoising, latents: Tensor, timestep: Tensor) -> Tensor:
    """The gradient of L_CA + L_SA by a whole conditional pass."""
    condition, reader = denoising.condition, denoising.reader
    assert condition is not None
    free = latents.clone().requires_grad_()
    regions = region_masks(condition.layouts, 32)
    with reader.reading(free) as maps:
        maps.positions = condition.positions
        maps.regions = regions.flatten(2).transpose(1, 2)
        reader.unet(free, timestep, condition.context)
    loss = layout_loss(maps.cross_maps(), region_masks(condition.layouts, 16), 0.5)
    loss = loss + leak_loss(maps.attended_regions(), regions)
    (gradient,) = torch.autograd.grad(loss.sum(), free)
    return gradient


@pytest.mark.parametrize("annotated", [False, True])
def test_guided_after_a_step_its_result_is_moved_by_the_gradient_at_its_start(
    denoising: Denoising, annotated: bool
) -> None:
    """The oracle takes two passes: a plain step, and the gradient of a pass of its own."""
    latents, step = start(2), at(denoising, 3, eta=5.0, annotated=annotated)
    gradient = naive_gradient(denoising, latents, step.timestep)
    plain = advanced(denoising, replace(step, eta=0.0), latents)
    guidance = LayoutGuidance(Guidance(eta=5, update="after"))
    moved = advanced(denoising, step, latents, guidance=guidance)
    assert not moved.requires_grad
    assert (moved - plain).abs().max() > 1e-3
    torch.testing.assert_close(moved, plain - 5 * gradient, rtol=1e-3, atol=1e-5)


def test_guided_before_a_step_it_begins_elsewhere(denoising: Denoising) -> None:
    latents, step = start(2), at(denoising, 3, eta=5.0)
    gradient = naive_gradient(denoising, latents, step.timestep)
    wanted = advanced(denoising, replace(step, eta=0.0), latents - 5 * gradient)
    found = advanced(denoising, step, latents)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_guided_after_a_step_the_unet_passes_twice_over_single_halves(
    denoising: Denoising,
) -> None:
    sizes: list[int] = []
    watch = denoising.reader.unet.conv_out.register_forward_hook(
        lambda _, given, output: sizes.append(len(given[0]) * (1 + output.requires_grad))
    )
    step = at(denoising, 0, eta=5.0)
    advanced(denoising, step, start(2), guidance=LayoutGuidance(Guidance(update="after")))
    watch.remove()
    # Behind the last layer that is read, no graph is kept.
    assert sizes == [2, 2]


def test_both_kinds_of_maps_are_read_of_a_step_that_is_guided_after_and_annotated(
    denoising: Denoising,
) -> None:
    step = at(denoising, 9, annotated=True)
    one = replace(denoising)
    other = replace(
        denoising, guidance=LayoutGuidance(Guidance(update="after", self_attention=False))
    )
    with torch.no_grad():
        one.advance(start(2), step, FREE)
        other.advance(start(2), replace(step, eta=1.0), FREE)
    assert one.read is not None and other.read is not None
    torch.testing.assert_close(one.read.cross_maps(), other.read.cross_maps(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(one.read.self_map(), other.read.self_map(), rtol=1e-4, atol=1e-6)


class Turned:
    """A guidance of a few lines: it turns latents round where the lesion's map is read."""

    update, reads = "before", (True, False)

    def step_sizes(self, timesteps: Any) -> list[float]:
        return [1.0] * len(timesteps)

    def ask(self, read: Any, condition: Condition) -> None:
        read.positions, read.ends = condition.positions, condition.ends

    def move(self, latents: Tensor, look: Look) -> Tensor:
        assert look.read.cross_maps().requires_grad and not look.read.attended
        return -latents


def test_any_guidance_of_that_form_guides(
    denoising: Denoising, sampler: LesionPairPipeline
) -> None:
    step, latents = at(denoising, 3, eta=1.0), start(2)
    wanted = advanced(denoising, replace(step, eta=0.0), -latents)
    torch.testing.assert_close(advanced(denoising, step, latents, guidance=Turned()), wanted)
    layouts = denoising.condition.layouts[:1]  # type: ignore[union-attr]
    call: dict[str, Any] = {"num_inference_steps": 2, "latents": latents[:1], "output_type": "pt"}
    sampler.set_progress_bar_config(disable=True)
    turned, plain = (
        sampler(PROMPTS[0], layouts, return_dict=False, **call | guided)[0]
        for guided in ({"guidance": Turned()}, {})
    )
    assert (turned - plain).abs().max() > 0.01


@pytest.mark.parametrize("timestep", [None, 300])
def test_steps_say_what_is_done_at_them(denoising: Denoising, timestep: int | None) -> None:
    denoising.reader.scheduler.set_timesteps(20)
    denoising.guidance, annotation = (
        LayoutGuidance(Guidance(eta=3, every=2)),
        Annotation(timestep=timestep),
    )
    steps = denoising.steps(annotation)
    timesteps = denoising.reader.scheduler.timesteps
    assert [step.timestep for step in steps] == list(timesteps)
    assert [step.eta for step in steps] == [3, 0] * 5 + [0] * 10
    # Six moments, of which the last is looked at as it is annotated.
    assert sum(step.watched for step in steps) == 5 and not steps[-1].watched
    assert [step.annotated for step in steps] == [False] * 19 + [timestep is None]
    denoising.watched = 0
    assert not any(step.watched for step in denoising.steps(annotation))
    denoising.condition = None
    assert denoising.steps(annotation) == [Step(timestep) for timestep in timesteps]


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_guided_predictions_are_rescaled_sample_by_sample(rescale: float) -> None:
    plain, prompted = torch.randn((2, 3, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    prediction = classifier_free(plain, prompted, 6.0, rescale).numpy()
    for drawn, without, wanted in zip(prediction, plain.numpy(), prompted.numpy(), strict=True):
        pushed = without + 6 * (wanted - without)
        shrunk = pushed * (wanted.std() / pushed.std())
        np.testing.assert_allclose(drawn, rescale * shrunk + (1 - rescale) * pushed, rtol=1e-4)
        if rescale == 1:
            assert drawn.std() == pytest.approx(wanted.std(), rel=1e-5)
