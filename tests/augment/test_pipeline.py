"""Tests of the sampler: seeds, batches, guidance and annotation on a tiny model."""

import numpy as np
import pytest
import torch
from torch import Tensor

from augment.attention import CROSS_SIDE, SELF_SIDE, captured
from augment.build import build_pipeline
from augment.losses import layout_loss, leak_loss, region_masks
from augment.pipeline import SCHEDULERS, LesionPairPipeline, scheduler_of
from augment.prompt import compose
from augment.tokens import p_token_positions, tokenize
from manifests.errors import DidgenError
from manifests.recipe import Build, Guidance, Sampling

PROMPTS = [compose(text) for text in ("melanoma.", "a brown lesion, light skin.", None)]
SEEDS = [11, 2**31 - 1, 3]
QUICK = Sampling(steps=2)


@pytest.fixture(scope="module")
def layouts(disc: Tensor) -> Tensor:
    """Three layouts: a disc, its mirror image, and a lesion that fills the lower half."""
    half = torch.zeros_like(disc)
    half[..., 128:, :] = 1
    return torch.cat([disc, disc.flip(-1), half])


def test_the_same_seed_gives_the_same_pair(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    one, same = (sampler.draw(PROMPTS[:1], SEEDS[:1], QUICK, layouts[:1]) for _ in range(2))
    other = sampler.draw(PROMPTS[:1], [12], QUICK, layouts[:1])
    np.testing.assert_array_equal(one.images, same.images)
    np.testing.assert_array_equal(one.masks, same.masks)
    np.testing.assert_array_equal(one.attention, same.attention)
    assert (one.images != other.images).any()


def test_what_is_drawn_has_the_shapes_it_says(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    pairs = sampler.draw(PROMPTS[:2], SEEDS[:2], Sampling(steps=2), layouts[:2])
    assert pairs.images.shape == (2, 256, 256, 3)
    assert pairs.images.dtype == np.uint8
    assert pairs.masks is not None
    assert pairs.masks.shape == (2, 256, 256)
    assert pairs.masks.dtype == bool
    assert pairs.attention is not None
    assert pairs.attention.shape == (2, SELF_SIDE, SELF_SIDE)
    assert pairs.attention.min() == 0
    assert pairs.attention.max() == 1
    images = sampler.draw(PROMPTS[:1], SEEDS[:1], Sampling(steps=2))
    assert images.masks is None
    assert images.attention is None


def test_a_batch_is_its_samples_one_by_one(sampler: LesionPairPipeline, layouts: Tensor) -> None:
    together = sampler.draw(PROMPTS, SEEDS, QUICK, layouts)
    assert together.attention is not None
    for number in range(3):
        one = slice(number, number + 1)
        alone = sampler.draw(PROMPTS[one], SEEDS[one], QUICK, layouts[one])
        difference = np.abs(together.images[one].astype(int) - alone.images)
        # Sums of floats in another order: 2 of 256 levels.
        assert difference.max() <= 2
        assert alone.attention is not None
        np.testing.assert_allclose(together.attention[one], alone.attention, atol=1e-2)


def test_prompt_layout_and_each_loss_change_the_image(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    def drawn(prompt: str, layout: Tensor | None, **guidance: bool | float) -> np.ndarray:
        sampling = Sampling(steps=2, guidance=Guidance(**guidance))
        return sampler.draw([prompt], [5], sampling, layout).images

    plain = drawn(PROMPTS[0], None)
    assert (drawn(PROMPTS[1], None) != plain).any()
    results = [
        drawn(PROMPTS[0], layouts[:1]),
        drawn(PROMPTS[0], layouts[1:2]),
        drawn(PROMPTS[0], layouts[:1], self_attention=False),
        drawn(PROMPTS[0], layouts[:1], cross_attention=False),
        plain,
    ]
    for number, one in enumerate(results):
        assert all((one != other).any() for other in results[:number])


@pytest.mark.parametrize(
    "guidance",
    [
        Guidance(eta=0),
        Guidance(until=0),
        Guidance(cross_attention=False, self_attention=False),
    ],
)
def test_guidance_switched_off_draws_the_plain_image(
    sampler: LesionPairPipeline, layouts: Tensor, guidance: Guidance
) -> None:
    sampling = Sampling(steps=2, guidance=guidance)
    plain = sampler.draw(PROMPTS[:1], SEEDS[:1], sampling)
    pairs = sampler.draw(PROMPTS[:1], SEEDS[:1], sampling, layouts[:1])
    # The last pass forms its softmax in another way.
    assert np.abs(plain.images.astype(int) - pairs.images).max() <= 1


def losses(
    sampler: LesionPairPipeline, latents: Tensor, layouts: Tensor, guidance: Guidance
) -> Tensor:
    """L_CA + L_SA (B,) at timestep 600, differentiable in the latents."""
    context, positions = conditions(sampler, len(latents))
    with captured(sampler.unet, 32) as maps:
        maps.positions = positions
        regions = region_masks(layouts, SELF_SIDE)
        maps.regions = regions.flatten(2).transpose(1, 2)
        sampler.unet(latents, torch.tensor(600), context)
    cross = layout_loss(
        maps.cross_maps(), region_masks(layouts, CROSS_SIDE), guidance.smoothing_sigma
    )
    return cross + leak_loss(maps.attended_regions(), regions)


def conditions(sampler: LesionPairPipeline, count: int) -> tuple[Tensor, Tensor]:
    """Text embeddings and P-Token positions of the first prompts."""
    ids = tokenize(sampler.tokenizer, PROMPTS[:count])
    with torch.no_grad():
        return sampler.text_encoder(ids)[0], p_token_positions(sampler.tokenizer, ids)


def start(count: int) -> Tensor:
    """Noise to begin with."""
    return torch.randn(count, 4, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_guided_step_goes_down_the_gradient_of_both_losses(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    context, positions = conditions(sampler, 2)
    latents = start(2).requires_grad_()
    guidance = Guidance(eta=3)
    (gradient,) = torch.autograd.grad(
        losses(sampler, latents, layouts[:2], guidance).sum(), latents
    )
    moved = sampler._guide(
        latents.detach(), torch.tensor(600), context, positions, layouts[:2], guidance
    )
    assert not moved.requires_grad
    torch.testing.assert_close(moved, latents.detach() - 3 * gradient, rtol=1e-4, atol=1e-6)
    # The directional derivative, by finite differences, is the gradient's squared length.
    direction = gradient / gradient.norm()
    with torch.no_grad():
        step = 5e-3 * direction
        higher, lower = (
            losses(sampler, latents + sign * step, layouts[:2], guidance).sum() for sign in (1, -1)
        )
    slope = (higher - lower) / 1e-2
    torch.testing.assert_close(slope, gradient.norm(), rtol=0.05, atol=1e-5)


def test_repeated_steps_lower_the_loss_of_every_sample(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    context, positions = conditions(sampler, 3)
    guidance = Guidance()
    latents = start(3)
    with torch.no_grad():
        before = losses(sampler, latents, layouts, guidance)
    for _ in range(3):
        latents = sampler._guide(latents, torch.tensor(600), context, positions, layouts, guidance)
    with torch.no_grad():
        after = losses(sampler, latents, layouts, guidance)
    assert (after < before - 1e-3).all(), (before, after)


def test_a_sample_is_guided_by_its_own_layout_alone(
    sampler: LesionPairPipeline, layouts: Tensor
) -> None:
    context, positions = conditions(sampler, 2)
    moved = [
        sampler._guide(
            start(2), torch.tensor(600), context, positions, layouts[[0, other]], Guidance()
        )
        for other in (1, 2)
    ]
    torch.testing.assert_close(moved[0][0], moved[1][0])
    assert (moved[0][1] - moved[1][1]).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["dpm++", "ddim", "pndm"])
def test_every_scheduler_draws_with_the_models_noise_schedule(
    shape: Build, name: str, layouts: Tensor
) -> None:
    epsilon = shape.model_copy(update={"prediction_type": "epsilon"})
    plain = build_pipeline(epsilon, PROMPTS, 256, 0)
    model = LesionPairPipeline(**plain.components, requires_safety_checker=False)
    scheduler = scheduler_of(model, name)
    assert isinstance(scheduler, SCHEDULERS[name])
    torch.testing.assert_close(scheduler.alphas_cumprod, plain.scheduler.alphas_cumprod)
    sampling = Sampling.model_validate({"scheduler": name, "steps": 4})
    drawn = model.draw(PROMPTS[:1], SEEDS[:1], sampling, layouts[:1])
    assert drawn.images.std() > 0
    scheduler.set_timesteps(50)
    assert len(scheduler.timesteps) <= 51


def test_pndm_refuses_models_it_cannot_sample(sampler: LesionPairPipeline, shape: Build) -> None:
    with pytest.raises(DidgenError, match="zero terminal SNR"):
        sampler.draw(PROMPTS[:1], SEEDS[:1], Sampling(scheduler="pndm", steps=2))
    direct = shape.model_copy(update={"prediction_type": "sample"})
    with pytest.raises(DidgenError, match=r"set `sampling\.scheduler` to dpm\+\+ or ddim"):
        scheduler_of(build_pipeline(direct, PROMPTS, 256, 0), "pndm")


def test_a_prompt_without_p_tokens_is_refused(sampler: LesionPairPipeline) -> None:
    with pytest.raises(DidgenError, match="exactly once"):
        sampler.draw([PROMPTS[0], "a melanoma"], [1, 2], QUICK)


def test_a_model_too_small_for_the_maps_is_refused(shape: Build, layouts: Tensor) -> None:
    plain = build_pipeline(shape, PROMPTS, 128, 0)
    model = LesionPairPipeline(**plain.components, requires_safety_checker=False)
    assert model.image_size == 128
    with pytest.raises(DidgenError, match="no 32x32 attention layer at 16x16 latents"):
        model.draw(PROMPTS[:1], SEEDS[:1], QUICK, layouts[:1])
