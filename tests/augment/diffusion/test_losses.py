"""Tests of the losses: against loops written from the equations, and by their invariants."""

import math

import pytest
import torch
from torch import Tensor

from didgen.augment.diffusion.losses import (
    attention_loss,
    layout_loss,
    leak_loss,
    normalise,
    region_masks,
)


def drawn(seed: int, batch: int = 3, side: int = 6) -> tuple[Tensor, Tensor]:
    """Random maps and complementary masks, float64."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(batch, 2, side, side, generator=generator, dtype=torch.float64)
    lesion = (torch.rand(batch, 1, side, side, generator=generator) > 0.5).double()
    return maps, torch.cat([lesion, 1 - lesion], 1)


def equation_3(maps: Tensor, masks: Tensor, *, mean: bool = True) -> list[float]:
    """Eq. 3 by loops over samples, tokens and pixels, whose squares are averaged or summed."""
    losses = []
    for sample_maps, sample_masks in zip(maps.tolist(), masks.tolist(), strict=True):
        total = 0.0
        for level, mask in zip(sample_maps, sample_masks, strict=True):
            squares = [
                (a - m) ** 2
                for row, mask_row in zip(level, mask, strict=True)
                for a, m in zip(row, mask_row, strict=True)
            ]
            total += sum(squares) / (len(squares) if mean else 1)
        losses.append(total / 2)
    return losses


def stretched(maps: Tensor) -> Tensor:
    """Min-max normalisation of each map, one at a time."""
    out = torch.empty_like(maps)
    for sample in range(maps.shape[0]):
        for token in range(2):
            level = maps[sample, token]
            out[sample, token] = (level - level.min()) / (level.max() - level.min())
    return out


@pytest.mark.parametrize("normalised", [True, False])
def test_attention_loss_is_equation_3(normalised: bool) -> None:
    maps, masks = drawn(0)
    expected = equation_3(stretched(maps) if normalised else maps, masks)
    found = attention_loss(maps, masks, normalised=normalised)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("normalised", [True, False])
def test_the_sum_is_equation_3_as_the_paper_prints_it(normalised: bool) -> None:
    maps, masks = drawn(0)
    expected = equation_3(stretched(maps) if normalised else maps, masks, mean=False)
    found = attention_loss(maps, masks, normalised=normalised, reduction="sum")
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("side", [4, 16])
def test_a_sum_is_the_mean_times_the_pixels_of_a_map(side: int) -> None:
    maps, masks = drawn(2, side=side)
    mean, total = (attention_loss(maps, masks, reduction=r) for r in ("mean", "sum"))
    torch.testing.assert_close(total, side**2 * mean)
    # Each pixel laid out four times over: the mean stays, the sum does not.
    larger = [each.repeat_interleave(2, -1).repeat_interleave(2, -2) for each in (maps, masks)]
    torch.testing.assert_close(attention_loss(*larger), mean)
    torch.testing.assert_close(attention_loss(*larger, reduction="sum"), 4 * total)


@pytest.mark.parametrize("normalised", [True, False])
def test_a_perfect_map_costs_nothing_and_its_opposite_most(normalised: bool) -> None:
    _, masks = drawn(1)
    assert attention_loss(masks, masks, normalised=normalised).abs().max() == 0
    torch.testing.assert_close(
        attention_loss(1 - masks, masks, normalised=normalised),
        torch.ones(3, dtype=torch.float64),
    )


def test_normalised_loss_does_not_see_scale_and_offset() -> None:
    maps, masks = drawn(2)
    torch.testing.assert_close(
        attention_loss(0.01 * maps + 0.3, masks), attention_loss(maps, masks)
    )


def test_swapping_tokens_with_their_masks_changes_nothing() -> None:
    maps, masks = drawn(3)
    torch.testing.assert_close(
        attention_loss(maps.flip(1), masks.flip(1)), attention_loss(maps, masks)
    )
    assert not torch.allclose(attention_loss(maps.flip(1), masks), attention_loss(maps, masks))


def test_each_token_is_held_to_its_own_mask() -> None:
    maps, masks = drawn(4)
    for token in range(2):
        mended = maps.clone()
        mended[:, token] = masks[:, token]
        other = 1 - token
        rest = (maps[:, other] - masks[:, other]).square().mean((-2, -1)) / 2
        torch.testing.assert_close(attention_loss(mended, masks, normalised=False), rest)


def test_maps_and_masks_of_different_shapes_are_refused() -> None:
    maps, masks = drawn(5)
    with pytest.raises(ValueError, match="differ in shape"):
        attention_loss(maps, masks[:, :1])


def test_a_constant_map_becomes_zeros() -> None:
    assert normalise(torch.full((1, 2, 4, 4), 0.7)).abs().max() == 0


def gaussian_smoothed(level: Tensor, sigma: float) -> Tensor:
    """A 3x3 Gaussian over a reflected border, by loops."""
    side = level.shape[0]
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in (-1, 0, 1)]
    total = sum(weights)

    def reflected(index: int) -> int:
        return abs(index) if index < side else 2 * (side - 1) - index

    out = torch.zeros_like(level)
    for row in range(side):
        for column in range(side):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    weight = weights[dy + 1] * weights[dx + 1] / total**2
                    out[row, column] += weight * level[reflected(row + dy), reflected(column + dx)]
    return out


def test_layout_loss_is_equation_3_on_smoothed_maps() -> None:
    maps, masks = drawn(6)
    smoothed = torch.stack([torch.stack([gaussian_smoothed(m, 0.5) for m in s]) for s in maps])
    expected = equation_3(stretched(smoothed), masks)
    found = layout_loss(maps, masks, sigma=0.5)
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-7
    )


def test_a_gaussian_wider_than_the_map_leaves_little_of_it() -> None:
    maps, masks = drawn(8)
    found = layout_loss(maps, masks, 100.0, normalised=False)
    # A flat window over the mirrored map: nearly its mean at every place.
    flat = maps.mean((-2, -1), keepdim=True).expand_as(maps)
    expected = attention_loss(flat, masks, normalised=False)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0)


def test_without_sigma_layout_loss_is_equation_3() -> None:
    maps, masks = drawn(7)
    torch.testing.assert_close(layout_loss(maps, masks, 0.0), attention_loss(maps, masks))


def attention_matrix(seed: int, batch: int, pixels: int) -> Tensor:
    """Random self-attention (B, N, N) with rows that sum to 1, float64."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, pixels, pixels, generator=generator, dtype=torch.float64)
    return (3 * scores).softmax(-1)


def test_leak_loss_is_the_mean_over_a_regions_pixels() -> None:
    _, masks = drawn(8, side=4)
    attention = attention_matrix(8, 3, 16)
    expected = []
    for sample in range(3):
        leaks = []
        for region in masks[sample].flatten(1):
            inside = [pixel for pixel in range(16) if region[pixel] == 1]
            outside = [pixel for pixel in range(16) if region[pixel] == 0]
            escaped = [sum(attention[sample, p, q].item() for q in outside) for p in inside]
            leaks.append(sum(escaped) / len(inside))
        expected.append(sum(leaks) / 2)
    found = leak_loss(attention @ masks.flatten(2).transpose(1, 2), masks)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_with_the_papers_normaliser_leak_loss_is_equation_5_as_printed() -> None:
    _, masks = drawn(8, side=4)
    attention = attention_matrix(8, 3, 16)
    expected = []
    for sample in range(3):
        total = 0.0
        for region in masks[sample].flatten(1).tolist():
            outside = sum(1 - share for share in region)
            for p in range(16):
                mass = sum(attention[sample, p, q].item() * (1 - region[q]) for q in range(16))
                total += region[p] * mass / outside
        expected.append(total / 2)
    attended = attention @ masks.flatten(2).transpose(1, 2)
    found = leak_loss(attended, masks, "paper")
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("lesion", [1, 5, 8, 15])
def test_the_two_normalisers_differ_by_the_regions_odds(lesion: int) -> None:
    """Where one region leaks, the other not, their ratio is the area inside over that outside."""
    flat = torch.zeros(16, dtype=torch.float64)
    flat[:lesion] = 1
    masks = torch.stack([flat, 1 - flat]).view(1, 2, 4, 4)
    for place, inside in ((0, lesion), (1, 16 - lesion)):
        attended = masks.flatten(2).transpose(1, 2).clone()
        attended[0, masks[0, place].flatten() == 1, place] = 0.75
        ours, printed = leak_loss(attended, masks), leak_loss(attended, masks, "paper")
        torch.testing.assert_close(ours, torch.tensor([0.125], dtype=torch.float64))
        torch.testing.assert_close(printed / ours, torch.full_like(ours, inside / (16 - inside)))


def test_at_half_the_image_both_normalisers_are_one() -> None:
    masks = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    masks[:, 0, :2] = masks[:, 1, 2:] = 1
    attended = attention_matrix(4, 1, 16) @ masks.flatten(2).transpose(1, 2)
    torch.testing.assert_close(leak_loss(attended, masks), leak_loss(attended, masks, "paper"))


def test_a_region_that_is_the_whole_image_leaks_nothing_whatever_rounding_leaves() -> None:
    masks = torch.zeros(1, 2, 4, 4)
    masks[:, 1] = 1
    attended = torch.full((1, 16, 2), 0.999, requires_grad=True)
    loss = leak_loss(attended, masks, "paper")
    (gradient,) = torch.autograd.grad(loss.sum(), attended)
    assert loss.item() == 0
    assert not gradient.any()


def test_attention_that_stays_in_its_region_does_not_leak() -> None:
    _, masks = drawn(9, side=4)
    regions = masks.flatten(2).transpose(1, 2)
    same_region = regions @ regions.transpose(1, 2)
    attention = same_region / same_region.sum(-1, keepdim=True)
    assert leak_loss(attention @ regions, masks).abs().max() < 1e-12
    crossing = 1 - same_region
    crossing = crossing / crossing.sum(-1, keepdim=True)
    torch.testing.assert_close(
        leak_loss(crossing @ regions, masks), torch.ones(3, dtype=torch.float64)
    )


def test_an_empty_region_leaks_nothing() -> None:
    masks = torch.zeros(1, 2, 4, 4)
    masks[:, 1] = 1
    attended = torch.full((1, 16, 2), 0.5)
    torch.testing.assert_close(leak_loss(attended, masks), torch.tensor([0.25]))


def test_a_batch_is_its_samples() -> None:
    maps, masks = drawn(10, batch=4, side=4)
    attended = attention_matrix(10, 4, 16) @ masks.flatten(2).transpose(1, 2)
    ones = [slice(i, i + 1) for i in range(4)]
    torch.testing.assert_close(
        attention_loss(maps, masks), torch.cat([attention_loss(maps[i], masks[i]) for i in ones])
    )
    torch.testing.assert_close(
        layout_loss(maps, masks, 0.5),
        torch.cat([layout_loss(maps[i], masks[i], 0.5) for i in ones]),
    )
    torch.testing.assert_close(
        leak_loss(attended, masks), torch.cat([leak_loss(attended[i], masks[i]) for i in ones])
    )


def test_gradients_are_those_of_finite_differences() -> None:
    maps, masks = drawn(11, batch=2, side=4)
    maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: attention_loss(m, masks), maps)
    assert torch.autograd.gradcheck(lambda m: attention_loss(m, masks, normalised=False), maps)
    assert torch.autograd.gradcheck(lambda m: layout_loss(m, masks, 0.5), maps)
    attended = attention_matrix(11, 2, 16) @ masks.flatten(2).transpose(1, 2)
    assert torch.autograd.gradcheck(lambda a: leak_loss(a, masks), attended.requires_grad_())
    assert torch.autograd.gradcheck(lambda a: leak_loss(a, masks, "paper"), attended)


def test_region_masks_are_reduced_by_area() -> None:
    lesion = (torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    masks = region_masks(lesion, 8)
    assert masks.shape == (2, 2, 8, 8)
    for row in range(8):
        for column in range(8):
            share = lesion[:, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((1, 2))
            torch.testing.assert_close(masks[:, 0, row, column], share)
    torch.testing.assert_close(masks.sum(1), torch.ones(2, 8, 8))


def test_a_lesion_thinner_than_a_map_pixel_is_not_lost() -> None:
    lesion = torch.zeros(1, 1, 256, 256)
    lesion[..., 100:103, 50:53] = 1
    masks = region_masks(lesion, 16)
    torch.testing.assert_close(masks[:, 0].sum() * 256, lesion.sum())
