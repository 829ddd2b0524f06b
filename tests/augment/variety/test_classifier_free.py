"""Classifier-free guidance at some noise levels and projected, against formulas written out."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from didgen.augment.variety.classifier_free import (
    ClassifierFree,
    CleanLatents,
    Projected,
    classifier_free,
    noise_level,
    within,
)
from didgen.manifests.recipes.sampling import ProjectedGuidance

KINDS = ("epsilon", "v_prediction", "sample")
SHAPE = (2, 4, 3, 3)


def schedule(kind: str, **fields: Any) -> DDIMScheduler:
    return DDIMScheduler(prediction_type=kind, clip_sample=False, **fields)


def noise(number: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number))


def test_the_interval_holds_its_upper_end_alone() -> None:
    levels = (0.2, 0.28, 0.3, 5.42, 6.0, float("inf"))
    assert [within(level, (0.28, 5.42)) for level in levels] == [False] * 2 + [True] * 2 + [
        False
    ] * 2
    assert all(within(level, None) for level in levels)


def test_a_noise_level_is_the_deviation_of_the_noise_beside_clean_latents() -> None:
    scheduler = schedule("epsilon")
    level = noise_level(scheduler, torch.tensor(700))
    share = float(scheduler.alphas_cumprod[700])
    # sqrt(abar) (x + sigma n) has the variance that the schedule says.
    assert level**2 * share == pytest.approx(1 - share)
    assert noise_level(schedule("epsilon", rescale_betas_zero_snr=True), torch.tensor(999)) > 1e6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("timestep", [3, 500, 999])
def test_clean_latents_are_those_that_a_right_prediction_means(kind: str, timestep: int) -> None:
    scheduler, clean, added = schedule(kind), noise(0), noise(1)
    at = torch.tensor(timestep)
    noisy = scheduler.add_noise(clean, added, at[None])
    velocity = scheduler.get_velocity(clean, added, at[None])
    right = {"epsilon": added, "v_prediction": velocity, "sample": clean}[kind]
    line = CleanLatents.of(scheduler, at, noisy)
    torch.testing.assert_close(line(right), clean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(line.back(line(right)), right, rtol=1e-3, atol=1e-3)


def test_a_schedule_that_ends_in_noise_alone_has_clean_latents_too() -> None:
    scheduler = schedule("v_prediction", rescale_betas_zero_snr=True)
    line = CleanLatents.of(scheduler, torch.tensor(999), noise(0))
    torch.testing.assert_close(line(noise(1)), -noise(1), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_as_it_stands_the_projection_is_classifier_free_guidance(kind: str, rescale: float) -> None:
    plain, prompted = noise(1), noise(2)
    clean = CleanLatents.of(schedule(kind), torch.tensor(400), noise(3))
    free = ClassifierFree(True, 6.0, rescale)
    found = Projected(ProjectedGuidance()).guided(plain, prompted, free, clean)
    wanted = classifier_free(plain, prompted, 6.0, rescale)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_each_step_is_that_of_the_papers_algorithm() -> None:
    """Written out for each sample by numpy, over two steps with a momentum between them."""
    asked, scale = ProjectedGuidance(parallel=0.2, norm=2.0, momentum=-0.5), 4.0
    clean = CleanLatents(0.6, -0.8, noise(3))
    projected, free = Projected(asked), ClassifierFree(True, scale)
    before = np.zeros((2, 36))
    for step in (0, 1):
        plain, prompted = noise(10 + step), noise(20 + step)
        found = projected.guided(plain, prompted, free, clean)
        d1, d0 = (clean(x).numpy().reshape(2, -1).astype(float) for x in (prompted, plain))
        before = d1 - d0 - 0.5 * before
        for sample in (0, 1):
            update = before[sample] * min(1, 2.0 / np.linalg.norm(before[sample]))
            unit = d1[sample] / np.linalg.norm(d1[sample])
            parallel = update @ unit * unit
            latents = d1[sample] + (scale - 1) * (update - parallel + 0.2 * parallel)
            wanted = (latents - 0.6 * clean.noisy[sample].numpy().ravel()) / -0.8
            np.testing.assert_allclose(found[sample].numpy().ravel(), wanted, rtol=1e-4, atol=1e-5)
