"""Tests of Attn-Refocus: its losses against loops, its moves, and which steps are guided."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from didgen.augment.diffusion.denoising import frozen
from didgen.augment.diffusion.guidance import Moment, guidance_of, looking
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.augment.rivals.refocus import RefocusGuidance, boxed, cross_loss, mask_loss
from didgen.manifests.recipes.sampling import AttentionMaps, Refocus, Sampling
from tests.fixtures.tiny_model import PROMPTS, start


def by_loops(maps: np.ndarray, regions: np.ndarray, early: bool) -> tuple[float, float]:
    """CAR of a sample's maps (K, H, W) and the least of the largest values inside."""
    total, least = 0.0, 1.0
    for i, attention in enumerate(maps):
        inside = max(attention[regions[i]], default=1.0)
        least = min(least, inside)
        total += (6 if inside < 0.1 else 1 if inside < 0.2 else int(early)) * (1 - inside)
        for j, region in enumerate(regions):
            if j != i:
                other = max(attention[region & ~regions[i]], default=0.0)
                total += (4 if other > 0.15 else 1 if other > 0.1 else int(early)) * other
        total += max(attention[~regions.any(0)], default=0.0) / 2
    return total / len(maps), least


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), top=st.floats(0.05, 1), early=st.booleans())
def test_car_is_what_the_maps_hold_inside_and_outside(seed: int, top: float, early: bool) -> None:
    rng = np.random.default_rng(seed)
    maps, regions = top * rng.random((3, 2, 3, 4)), rng.random((3, 2, 3, 4)) < 0.4
    losses, inside = cross_loss(torch.from_numpy(maps), torch.from_numpy(regions), early)
    wanted = [by_loops(one, region, early) for one, region in zip(maps, regions, strict=True)]
    np.testing.assert_allclose(losses.numpy(), [loss for loss, _ in wanted], rtol=1e-6)
    np.testing.assert_allclose(inside.numpy(), [least for _, least in wanted], rtol=1e-6)


def test_car_pulls_each_largest_value_into_its_own_region() -> None:
    maps = torch.full((1, 2, 2, 2), 0.3)
    maps[0, 0, 0, 0], maps[0, 0, 1, 1] = 0.31, 0.32
    regions = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    regions[0, 0, 0], regions[0, 1, 1] = True, True
    maps.requires_grad_()
    losses, _ = cross_loss(maps, regions, True)
    (gradient,) = torch.autograd.grad(losses.sum(), maps)
    assert gradient[0, 0, 0, 0] < 0 < gradient[0, 0, 1, 1]
    assert gradient[0, 0, 0, 1] == gradient[0, 0, 1, 0] == 0


@given(seed=st.integers(0, 2**20))
def test_the_form_of_masks_weighs_outside_by_half_more_than_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps, masks = rng.random((2, 2, 3, 3)), rng.integers(0, 2, (2, 2, 3, 3)).astype(float)
    wanted = [
        sum(
            -value if mask else 1.5 * value
            for value, mask in zip(a.ravel(), m.ravel(), strict=True)
        )
        for a, m in zip(maps, masks, strict=True)
    ]
    found = mask_loss(torch.from_numpy(maps), torch.from_numpy(masks))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 2**20))
def test_a_box_is_from_the_first_lesion_pixel_to_the_last(seed: int) -> None:
    layout = np.random.default_rng(seed).random((6, 7)) < 0.05
    wanted = np.zeros(layout.shape)
    if layout.any():
        rows, columns = np.nonzero(layout)
        wanted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 1
    found = boxed(torch.from_numpy(layout)[None, None].float())
    np.testing.assert_array_equal(found[0, 0].numpy(), wanted)


def test_of_fifty_steps_those_of_the_source_are_guided() -> None:
    etas = RefocusGuidance(Refocus()).step_sizes(list(range(500, 0, -10)))
    assert etas[:10] == [4.0] * 5 + [3.0] * 5
    later = {10: 3.0, 15: 3.0, 20: 1.0, 25: 1.0, 30: 1.0, 35: 1.0}
    assert {place: eta for place, eta in enumerate(etas) if place >= 10 and eta} == later
    masks = RefocusGuidance(Refocus(form="mask", scale=2)).step_sizes(list(range(500, 0, -10)))
    assert masks == [4.0] * 5 + [3.0] * 5 + [0.0] * 40


@pytest.mark.parametrize("count", [10, 20, 49, 100])
def test_other_numbers_of_steps_are_guided_at_the_same_shares(count: int) -> None:
    etas = RefocusGuidance(Refocus()).step_sizes(list(range(10 * count, 0, -10)))
    guided = [place / count for place, eta in enumerate(etas) if eta]
    assert sum(share < 0.2 for share in guided) == -(-count // 5)
    assert len([share for share in guided if share >= 0.2]) <= 6
    assert max(guided) < 0.72


@pytest.fixture(scope="module")
def reader(sampler: LesionPairPipeline) -> MapReader:
    return MapReader(sampler.unet, scheduler_of(sampler, "ddim"), AttentionMaps())


@pytest.fixture(scope="module")
def condition(sampler: LesionPairPipeline, disc: Tensor) -> Condition:
    with torch.no_grad():
        embeds, _ = sampler.texts(PROMPTS[:2])
    return sampler.condition(PROMPTS[:2], embeds, torch.cat([disc, disc.flip(-1)]))


def moved(
    reader: MapReader, condition: Condition, asked: Refocus, latents: Tensor, eta: float = 4.0
) -> tuple[Tensor, int]:
    """Latents after an early guided step, and how many passes it took."""
    guidance, passes = RefocusGuidance(asked), []
    handle = reader.unet.conv_in.register_forward_hook(lambda *_: passes.append(1))
    moment = Moment(torch.tensor(600), eta, 0.05)
    with frozen(reader.unet), looking(reader, guidance, latents, moment, condition) as look:
        result = guidance.move(latents, look)
    handle.remove()
    return result, len(passes)


@pytest.mark.parametrize("form", ["box", "mask"])
def test_a_step_moves_down_its_loss_until_it_is_enough(
    reader: MapReader, condition: Condition, form: str
) -> None:
    asked = Refocus.model_validate({"form": form, "enough": 1})
    latents = start(2)
    result, passes = moved(reader, condition, asked, latents)
    assert not result.requires_grad and passes == {"box": 6, "mask": 3}[form]

    def loss(at: Tensor) -> Tensor:
        guidance = RefocusGuidance(asked)
        moment = Moment(torch.tensor(600), 4.0, 0.05)
        with frozen(reader.unet), looking(reader, guidance, at, moment, condition) as look:
            return guidance._losses(look)[0].detach()

    assert (loss(result) < loss(latents)).all()
    # What is enough at once takes one look, whose move is taken all the same.
    once, single = moved(reader, condition, replace_enough(asked, 0), latents)
    assert single == (1 if form == "box" else passes)
    assert (once - latents).abs().max() > 0


def replace_enough(asked: Refocus, enough: float) -> Refocus:
    return asked.model_copy(update={"enough": enough})


def test_a_sample_is_moved_by_its_own_maps_in_any_batch(
    reader: MapReader, condition: Condition
) -> None:
    latents, asked = start(2), Refocus()
    together, _ = moved(reader, condition, asked, latents)
    alone, _ = moved(reader, condition.first(1), asked, latents[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-3, atol=1e-4)
    other = replace(condition, layouts=condition.layouts.flip(0))
    assert (moved(reader, other, asked, latents)[0] - together).abs().max() > 1e-3


def test_a_recipe_guides_by_it() -> None:
    sampling = Sampling.model_validate({"refocus": {"form": "mask"}})
    assert guidance_of(sampling) == RefocusGuidance(Refocus(form="mask"))
