"""The guidance: its gradients against autograd on whole maps, and where its passes end."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from didgen.augment.diffusion.attention import captured
from didgen.augment.diffusion.denoising import frozen
from didgen.augment.diffusion.guidance import LayoutGuidance, Moment, looking
from didgen.augment.diffusion.losses import layout_loss, leak_loss, region_masks
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.manifests.recipes.sampling import AttentionMaps, Guidance
from tests.fixtures.tiny_model import PROMPTS, start

MAPS = AttentionMaps()
AT = torch.tensor(600)
GUIDANCE = Guidance()


@pytest.fixture(scope="module")
def reader(sampler: LesionPairPipeline) -> MapReader:
    return MapReader(sampler.unet, scheduler_of(sampler, "ddim"), MAPS)


@pytest.fixture(scope="module")
def condition(sampler: LesionPairPipeline, disc: Tensor) -> Condition:
    """Three prompts with a disc, a lesion of about 4 %, and one that fills the lower half."""
    small, half = torch.zeros_like(disc), torch.zeros_like(disc)
    small[..., 40:90, 150:200] = 1
    half[..., 128:, :] = 1
    with torch.no_grad():
        embeds, _ = sampler.texts(PROMPTS)
    return sampler.condition(PROMPTS, embeds, torch.cat([disc, small, half]))


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return start(3)


def gradient_of(
    reader: MapReader, latents: Tensor, condition: Condition, guidance: Guidance
) -> Tensor:
    """The gradient of Eq. 6 at timestep 600."""
    by_maps = LayoutGuidance(guidance)
    moment = Moment(AT, 1.0)
    with frozen(reader.unet), looking(reader, by_maps, latents, moment, condition) as look:
        return by_maps.gradient(look)


def guided(
    reader: MapReader, latents: Tensor, condition: Condition, guidance: Guidance = GUIDANCE
) -> Tensor:
    """Latents after one guided step at timestep 600."""
    by_maps = LayoutGuidance(guidance)
    looks = looking(reader, by_maps, latents, Moment(AT, guidance.eta), condition)
    with frozen(reader.unet), looks as look:
        return by_maps.move(latents, look)


def losses(reader: MapReader, latents: Tensor, condition: Condition, guidance: Guidance) -> Tensor:
    """L_CA + L_SA (B,), of a whole pass."""
    with captured(reader.unet, 32, MAPS) as maps:
        maps.positions = condition.positions
        regions = region_masks(condition.layouts, MAPS.self_side)
        maps.regions = regions.flatten(2).transpose(1, 2)
        reader.unet(latents, AT, condition.context)
    masks = region_masks(condition.layouts, MAPS.cross_side)
    cross = layout_loss(maps.cross_maps(), masks, guidance.smoothing_sigma)
    return cross + leak_loss(maps.attended_regions(), regions)


def losses_by_matrices(
    reader: MapReader, latents: Tensor, condition: Condition, guidance: Guidance
) -> Tensor:
    """L_CA + L_SA, (B,), with A_S whole and Eq. 5 written down as it stands."""
    with captured(reader.unet, 32, MAPS) as whole:
        whole.positions, whole.keep_self = condition.positions, True
        reader.unet(latents, AT, condition.context)
    masks = region_masks(condition.layouts, MAPS.cross_side)
    loss = layout_loss(whole.cross_maps(), masks, guidance.smoothing_sigma)
    regions = region_masks(condition.layouts, MAPS.self_side).flatten(2)
    attention, outside = whole.self_map(), 1 - regions
    mass = torch.einsum("bip,bpq,biq->bi", regions, attention, outside)
    divisor = outside if guidance.normaliser == "paper" else regions
    return loss + (mass / divisor.sum(-1)).sum(-1) / 2


@pytest.mark.parametrize("normaliser", ["region", "paper"])
def test_the_gradient_is_that_of_both_losses(
    reader: MapReader, condition: Condition, latents: Tensor, normaliser: str
) -> None:
    guidance = Guidance.model_validate({"normaliser": normaliser})
    found = gradient_of(reader, latents, condition, guidance)
    free = latents.clone().requires_grad_()
    loss = losses_by_matrices(reader, free, condition, guidance).sum()
    (wanted,) = torch.autograd.grad(loss, free)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


def test_the_two_normalisers_pull_small_lesions_apart(
    reader: MapReader, condition: Condition, latents: Tensor
) -> None:
    def gradient(normaliser: str, layout: Tensor) -> Tensor:
        fields = {"normaliser": normaliser, "cross_attention": False}
        layouts = replace(condition, layouts=layout.expand(3, -1, -1, -1))
        asked = Guidance.model_validate(fields)
        return gradient_of(reader, latents, layouts, asked).flatten()

    half = torch.zeros_like(condition.layouts[:1])
    half[..., :128] = 1
    torch.testing.assert_close(gradient("region", half), gradient("paper", half))
    small = condition.layouts[1:2]
    ours, printed = gradient("region", small), gradient("paper", small)
    assert torch.cosine_similarity(ours, printed, 0) < 0.95


@pytest.mark.parametrize("size", [(32, 48), (40, 32)])
def test_latents_that_are_not_square_have_the_gradient_of_their_own_layout(
    reader: MapReader, condition: Condition, size: tuple[int, int]
) -> None:
    height, width = size
    noise = torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(1))
    layout = torch.zeros(1, 1, 8 * height, 8 * width)
    layout[..., : 4 * height, 4 * width :] = 1
    one = replace(condition.first(1), layouts=layout)
    found = gradient_of(reader, noise, one, Guidance())
    free = noise.clone().requires_grad_()
    # By the definition: half the layers' sides at 16x16 of 32x32, and all of those at 32x32.
    with reader.reading(free) as whole:
        whole.positions, whole.keep_self = one.positions, True
        reader.unet(free, AT, one.context)
    maps = whole.cross_maps()
    assert maps.shape == (1, 2, height // 2, width // 2)
    assert whole.self_map().shape == (1, height * width, height * width)
    loss = layout_loss(maps, region_masks(layout, (height // 2, width // 2)), 0.5).sum()
    regions = region_masks(layout, size).flatten(2)
    mass = torch.einsum("bip,bpq,biq->bi", regions, whole.self_map(), 1 - regions)
    loss = loss + (mass / regions.sum(-1)).sum() / 2
    (wanted,) = torch.autograd.grad(loss, free)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


def test_a_guided_step_goes_down_the_gradient_of_both_losses(
    reader: MapReader, condition: Condition, latents: Tensor
) -> None:
    latents, guidance = latents.clone().requires_grad_(), Guidance(eta=3)
    loss = losses(reader, latents, condition, guidance).sum()
    (gradient,) = torch.autograd.grad(loss, latents)
    moved = guided(reader, latents.detach(), condition, guidance)
    assert not moved.requires_grad
    torch.testing.assert_close(moved, latents.detach() - 3 * gradient, rtol=1e-4, atol=1e-6)
    # The directional derivative, by finite differences, is the gradient's squared length.
    direction = gradient / gradient.norm()
    with torch.no_grad():
        step = 5e-3 * direction
        higher, lower = (
            losses(reader, latents + sign * step, condition, guidance).sum() for sign in (1, -1)
        )
    slope = (higher - lower) / 1e-2
    torch.testing.assert_close(slope, gradient.norm(), rtol=0.05, atol=1e-5)


def test_repeated_steps_lower_the_loss_of_every_sample(
    reader: MapReader, condition: Condition, latents: Tensor
) -> None:
    with torch.no_grad():
        before = losses(reader, latents, condition, Guidance())
    for _ in range(3):
        latents = guided(reader, latents, condition)
    with torch.no_grad():
        after = losses(reader, latents, condition, Guidance())
    assert (after < before - 1e-3).all(), (before, after)


def test_a_sample_is_guided_by_its_own_layout_alone(
    reader: MapReader, condition: Condition, latents: Tensor
) -> None:
    def moved(*layouts: int) -> Tensor:
        other = replace(condition.first(2), layouts=condition.layouts[list(layouts)])
        return guided(reader, latents[:2], other)

    one, other = moved(0, 1), moved(0, 2)
    torch.testing.assert_close(one[0], other[0])
    assert (one[1] - other[1]).abs().max() > 1e-4


def test_a_guided_step_keeps_small_gradients_in_float16(
    reader: MapReader, condition: Condition, latents: Tensor
) -> None:
    one, noise, guidance = condition.first(1), latents[:1], Guidance(eta=1)
    exact = guided(reader, noise, one, guidance) - noise
    half = replace(reader, unet=copy.deepcopy(reader.unet).to(torch.float16))
    moved = guided(half, noise, replace(one, context=one.context.half()), guidance)
    assert moved.dtype == torch.float32
    assert (moved - noise - exact).norm() < 0.02 * exact.norm()


def test_a_guided_pass_ends_with_the_last_layer_that_is_read(
    reader: MapReader, condition: Condition, latents: Tensor
) -> None:
    passed: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: passed.append(name))
        for name, module in reader.unet.named_modules()
        if name == "conv_out" or name.endswith("attn2.to_q")
    ]
    guided(reader, latents, condition)
    whole = len(passed)
    passed.clear()
    guided(reader, latents, condition, Guidance(self_attention=False))
    for handle in handles:
        handle.remove()
    # Self-attention is read at 32x32, the last level of this model; cross-attention at 16x16.
    assert "conv_out" not in passed
    assert passed[-1].startswith("up_blocks.1")
    assert len(passed) < whole
