"""Tests of ZestGuide: its loss against loops over pixels, and the length of its moves."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from didgen.augment.diffusion.guidance import Look, guidance_of
from didgen.augment.diffusion.pipeline import LesionPairPipeline, LesionPairs
from didgen.augment.rivals.zest import ZestGuidance, zest_loss
from didgen.manifests.recipes.sampling import Sampling, Zest
from tests.fixtures.tiny_model import PROMPTS, start

ASKED = Zest()


def entropy(found: float, wanted: float) -> float:
    """The binary cross-entropy of two numbers that were kept from 0 and 1."""
    p, q = (min(max(value, 1e-3), 1 - 1e-3) for value in (found, wanted))
    return -(q * math.log(p) + (1 - q) * math.log(1 - p))


def by_loops(maps: np.ndarray, segments: np.ndarray) -> float:
    """L_Zest of the maps (K, H, W) of a sample, pixel by pixel."""
    total = 0.0
    for attention, segment in zip(maps, segments, strict=True):
        first, second = [], []
        for value, wanted in zip(attention.ravel(), segment.ravel(), strict=True):
            scaled, relative = 10 * value, value / attention.max()
            first.append(entropy(scaled if scaled > 0.01 or wanted > 0.01 else 0, wanted))
            second.append(entropy(relative if relative > 0.1 or wanted > 0.1 else 0, wanted))
        total += float(np.mean(first)) + float(np.mean(second))
    return total


@settings(max_examples=20)
@given(seed=st.integers(0, 2**20), top=st.floats(0.02, 1))
def test_the_loss_is_two_cross_entropies_of_each_map(seed: int, top: float) -> None:
    rng = np.random.default_rng(seed)
    maps = top * rng.random((2, 2, 3, 4))
    lesion = rng.integers(0, 2, (2, 1, 3, 4)).astype(float)
    segments = np.concatenate([lesion, 1 - lesion], 1)
    found = zest_loss(torch.from_numpy(maps), torch.from_numpy(segments), ASKED)
    wanted = [by_loops(one, other) for one, other in zip(maps, segments, strict=True)]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)


def test_a_map_of_its_segment_loses_least_and_pixels_pull_towards_it() -> None:
    segments = torch.zeros(1, 1, 4, 4)
    segments[..., :2] = 1
    right = zest_loss(0.1 * segments, segments, ASKED)
    flat = torch.full((1, 1, 4, 4), 0.05, requires_grad=True)
    wrong = zest_loss(flat, segments, ASKED)
    (gradient,) = torch.autograd.grad(wrong.sum(), flat)
    assert right < wrong < zest_loss(0.1 * (1 - segments), segments, ASKED)
    assert (gradient[segments > 0] < 0).all() and (gradient[segments == 0] > 0).all()


class Given:
    """Maps that are a function of the latents alone, as a pass would write them."""

    cross_shape = (4, 4)

    def __init__(self, latents: Tensor) -> None:
        self.maps = latents[:, :2].sigmoid()

    def cross_maps(self) -> Tensor:
        return self.maps


def test_the_largest_move_of_each_sample_is_eta_times_the_noises_share(disc: Tensor) -> None:
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = (latents * torch.tensor([1.0, 1e-3])[:, None, None, None]).requires_grad_()
    condition = type("Layouts", (), {"layouts": torch.cat([disc, 1 - disc])})()
    look = Look(seen, Given(seen), condition, 0.3, spread=0.5)  # type: ignore[arg-type]
    result = torch.zeros_like(latents)
    moved = ZestGuidance(ASKED).move(result, look)
    torch.testing.assert_close(moved.abs().amax((1, 2, 3)), torch.full((2,), 0.15))
    # Down the gradient: where the loss falls, to first order.
    before = zest_loss(Given(seen).maps, region(condition.layouts), ASKED)
    after = zest_loss(Given(seen + 0.01 * moved).maps, region(condition.layouts), ASKED)
    assert (after < before).all()


def region(layouts: Tensor) -> Tensor:
    small = torch.nn.functional.adaptive_avg_pool2d(layouts, 4)
    return torch.cat([small, 1 - small], 1)


def test_half_of_the_steps_are_guided() -> None:
    assert ZestGuidance(ASKED).step_sizes([9, 7, 5, 3, 1]) == [0.3] * 3 + [0.0] * 2


def test_a_recipe_guides_by_it_and_may_take_layouts_as_masks(
    sampler: LesionPairPipeline, disc: Tensor
) -> None:
    sampling = Sampling.model_validate(
        {"zest": {}, "scheduler": "ddim", "annotation": {"mask": "layout", "flat": 0}}
    )
    assert guidance_of(sampling) == ZestGuidance(ASKED)
    sampler.set_progress_bar_config(disable=True)
    call: dict[str, Any] = {"num_inference_steps": 2, "latents": start(1), "output_type": "np"}
    annotation, unguided = sampling.annotation, sampling.guidance.model_copy(update={"eta": 0})
    guided = sampler(
        PROMPTS[0], disc, guidance=guidance_of(sampling), annotation=annotation, **call
    )
    plain = sampler(PROMPTS[0], disc, guidance=unguided, **call)
    assert isinstance(guided, LesionPairs) and isinstance(plain, LesionPairs)
    np.testing.assert_array_equal(guided.masks[0], disc[0, 0].numpy() > 0.5)
    assert np.abs(guided.images - plain.images).max() > 0.01
    assert not np.array_equal(guided.masks, plain.masks)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"zest": {}, "refocus": {}}, "keep one"),
        ({"zest": {}, "guidance": {"eta": 80}}, "takes the place of `guidance`"),
        ({"ddim_eta": 0.5}, "needs `scheduler: ddim`"),
    ],
)
def test_guidances_exclude_each_other(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Sampling.model_validate(fields)
