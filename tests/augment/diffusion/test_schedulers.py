"""Tests of schedulers: their noise schedule, and the steps that are guided."""

from typing import Literal

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, PNDMScheduler
from torch import Tensor

from didgen.augment.diffusion.pipeline import LesionPairPipeline, draw
from didgen.augment.diffusion.schedulers import keep_moves, scheduler_of, step_sizes
from didgen.augment.diffusion.small_model import build_pipeline
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.sampling import Guidance, Sampling
from didgen.manifests.recipes.small_model import Build
from tests.fixtures.tiny_model import PROMPTS, SEEDS, start


def test_ddim_clips_no_latents_of_a_model_saved_with_another_scheduler(
    sampler: LesionPairPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = EulerDiscreteScheduler(timestep_spacing="trailing")
    monkeypatch.setattr(sampler, "scheduler", saved)
    assert "clip_sample" not in saved.config
    assert not scheduler_of(sampler, "ddim").config.clip_sample


def test_pndm_refuses_models_it_cannot_sample(sampler: LesionPairPipeline, shape: Build) -> None:
    with pytest.raises(DidgenError, match="zero terminal SNR"):
        draw(sampler, PROMPTS[:1], SEEDS[:1], Sampling(scheduler="pndm", steps=2))
    direct = shape.model_copy(update={"prediction_type": "sample"})
    with pytest.raises(DidgenError, match=r"set `sampling\.scheduler` to dpm\+\+, unipc or ddim"):
        scheduler_of(build_pipeline(direct, PROMPTS, 256, 0), "pndm")


def test_eta_is_nothing_outside_its_range_and_falls_as_asked() -> None:
    assert step_sizes(Guidance(eta=20), [4, 3, 2, 1]) == [20, 20, 0, 0]
    assert step_sizes(Guidance(eta=3, start=0.25, until=1), [4, 3, 2, 1]) == [0, 3, 3, 3]
    assert step_sizes(Guidance(cross_attention=False, self_attention=False), [2, 1]) == [0, 0]
    assert step_sizes(Guidance(eta=1, every=2), range(9, 0, -1)) == [1, 0, 1, 0, 1, 0, 0, 0, 0]
    late = Guidance(eta=1, start=0.25, until=1, every=3)
    assert step_sizes(late, range(8, 0, -1)) == [0, 0, 1, 0, 0, 1, 0, 0]
    line = [20 * (1 - 0.5 * number / 50) ** 0.5 for number in range(51)]
    falling = step_sizes(Guidance(decay="sqrt", until=1), range(51, 0, -1))
    np.testing.assert_allclose(falling, line)


@pytest.mark.parametrize(("steps", "guided"), [(1, 1), (3, 2), (30, 3), (50, 5)])
def test_a_part_of_a_step_is_guided_as_a_whole(steps: int, guided: int) -> None:
    until = 0.5 if steps < 30 else 0.1
    etas = step_sizes(Guidance(until=until), range(steps, 0, -1))
    assert [eta > 0 for eta in etas] == [place < guided for place in range(steps)]


@pytest.mark.parametrize("update", ["before", "after"])
def test_every_guided_step_of_pndm_moves_what_it_draws(
    shape: Build, update: Literal["before", "after"]
) -> None:
    epsilon = shape.model_copy(update={"prediction_type": "epsilon"})
    model = build_pipeline(epsilon, PROMPTS, 256, 0)
    etas = step_sizes(Guidance(update=update), scheduler_steps(scheduler_of(model, "pndm")))
    assert len(etas) == 11
    assert sum(eta > 0 for eta in etas) == 5

    def last(moved: int | None) -> Tensor:
        scheduler = scheduler_of(model, "pndm")
        scheduler_steps(scheduler)
        latents = start(1)
        for number, timestep in enumerate(scheduler.timesteps):
            if number == moved and update == "before":
                latents = latents + 1
            # A model whose output does not hang on its input: what moves is the latents alone.
            latents = scheduler.step(torch.ones(1, 4, 32, 32), timestep, latents).prev_sample
            if number == moved and update == "after":
                latents = latents + 1
        return latents

    for number, eta in enumerate(etas):
        if eta > 0:
            assert (last(number) - last(None)).abs().min() > 0.1


def scheduler_steps(scheduler: PNDMScheduler) -> list[int]:
    """The timesteps of ten steps."""
    scheduler.set_timesteps(10)
    return list(scheduler.timesteps.tolist())


@pytest.mark.parametrize("update", ["before", "after"])
def test_unipc_keeps_what_is_moved(shape: Build, update: Literal["before", "after"]) -> None:
    """Its corrector would take the step anew from where it began."""
    direct = shape.model_copy(update={"prediction_type": "sample"})
    model = build_pipeline(direct, PROMPTS, 256, 0)

    def last(moved: int | None, kept: bool = True) -> Tensor:
        scheduler = scheduler_of(model, "unipc")
        scheduler.set_timesteps(6)
        if kept:
            keep_moves(scheduler, step_sizes(Guidance(), scheduler.timesteps.tolist()), update)
        latents = start(1)
        for number, timestep in enumerate(scheduler.timesteps):
            if number == moved and update == "before":
                latents = latents + 1
            # A model whose output does not hang on its input: what moves is the latents alone.
            latents = scheduler.step(torch.zeros(1, 4, 32, 32), timestep, latents).prev_sample
            if number == moved and update == "after":
                latents = latents + 1
            if number == 4:
                return latents
        return latents

    assert (last(2) - last(None)).abs().min() > 0.1
    torch.testing.assert_close(last(2, kept=False), last(None, kept=False))
