"""Tests of losses: they are the formulas that they stand for."""

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from didgen.downstream.benchmark.losses import (
    ClassLoss,
    PairLoss,
    boundary_map,
    segmentation_loss,
)
from didgen.downstream.benchmark.recipe import MaskLoss
from didgen.downstream.networks.segmenter_outputs import Outputs


def batch() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    return torch.randn(8, 3, generator=generator), {"label": labels}


def test_most_arms_have_plain_cross_entropy() -> None:
    logits, given = batch()
    assert torch.allclose(ClassLoss()(logits, given), F.cross_entropy(logits, given["label"]))


def test_weights_make_a_weighted_mean() -> None:
    logits, given = batch()
    classes = torch.tensor([10 / 18, 10 / 9, 10 / 3])
    given["weight"] = classes[given["label"]]
    oracle = torch.nn.CrossEntropyLoss(classes)(logits, given["label"])
    assert torch.allclose(ClassLoss()(logits, given), oracle)
    given["weight"] = torch.tensor([1.0] * 4 + [0.0] * 4)
    half = F.cross_entropy(logits[:4], given["label"][:4])
    assert torch.allclose(ClassLoss()(logits, given), half)


def test_two_labels_count_in_their_proportion() -> None:
    logits, given = batch()
    other, share = given["label"].flip(0), torch.linspace(0, 1, 8)
    given |= {"other_label": other, "other_share": share}
    soft = (1 - share)[:, None] * F.one_hot(given["label"], 3) + share[:, None] * F.one_hot(
        other, 3
    )
    assert torch.allclose(ClassLoss()(logits, given), F.cross_entropy(logits, soft))


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_is_its_formula(gamma: float) -> None:
    logits, given = batch()
    chances = logits.softmax(1)[torch.arange(8), given["label"]]
    oracle = (-((1 - chances) ** gamma) * chances.log()).mean()
    assert torch.allclose(ClassLoss(gamma)(logits, given), oracle)
    # It never weighs an image more than cross-entropy does, and spares the easy ones.
    assert ClassLoss(gamma)(logits, given) < ClassLoss()(logits, given)


@pytest.mark.parametrize("kind", get_args(MaskLoss))
def test_weighted_losses_of_masks_are_means_over_images(kind: MaskLoss) -> None:
    logits, masks = masks_batch()
    loss = PairLoss(segmentation_loss(kind, auxiliary=0.4, boundary=0.4))
    outputs = Outputs((logits, -logits), (logits,))
    plain = loss(outputs, {"mask": masks})
    assert torch.allclose(loss(outputs, {"mask": masks, "weight": torch.ones(3)}), plain, atol=1e-5)
    alone = loss(Outputs((logits[1:2], -logits[1:2]), (logits[1:2],)), {"mask": masks[1:2]})
    only = {"mask": masks, "weight": torch.tensor([0.0, 2.0, 0.0])}
    assert torch.allclose(loss(outputs, only), alone)


def masks_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, 1, 8, 8, generator=generator)
    return logits, (torch.rand(3, 1, 8, 8, generator=generator) > 0.6).float()


def naive_masks(kind: str, logits: torch.Tensor, masks: torch.Tensor) -> float:
    """The formula of each loss, image by image and pixel by pixel."""
    overlap, pixels = [], []
    for logit, mask in zip(logits, masks, strict=True):
        chances, truths = logit.sigmoid().flatten().tolist(), mask.flatten().tolist()
        shared = sum(p * t for p, t in zip(chances, truths, strict=True))
        total = sum(chances) + sum(truths)
        overlap.append(
            1 - shared / (total - shared) if kind == "jaccard" else 1 - 2 * shared / total
        )
        for p, t in zip(chances, truths, strict=True):
            true = p if t else 1 - p
            weight = (1 - true) ** 2 if kind == "focal-dice" else 1
            pixels.append(-weight * np.log(true))
    dice, entropy = float(np.mean(overlap)), float(np.mean(pixels))
    return {"dice": dice, "jaccard": dice, "bce": entropy}.get(kind, dice + entropy)


@pytest.mark.parametrize("kind", get_args(MaskLoss))
def test_losses_of_masks_are_their_formulas(kind: MaskLoss) -> None:
    logits, masks = masks_batch()
    loss = segmentation_loss(kind, auxiliary=0.4, boundary=0.4)
    assert loss(Outputs((logits,)), masks).item() == pytest.approx(
        naive_masks(kind, logits, masks), abs=1e-4
    )
    # A sure and right answer costs nothing, a sure and wrong one much, an empty mask no NaN.
    right, wrong = (loss(Outputs((sure * (2 * masks - 1),)), masks) for sure in (30, -30))
    assert right.item() == pytest.approx(0, abs=1e-3)
    assert wrong > 0.9
    empty = torch.zeros_like(masks)
    assert loss(Outputs((torch.full_like(masks, -30),)), empty).item() == pytest.approx(0, abs=1e-3)


def test_further_outputs_are_weighted_means() -> None:
    logits, masks = masks_batch()
    plain = segmentation_loss("dice-bce", auxiliary=0, boundary=0)
    one, two = plain(Outputs((logits,)), masks), plain(Outputs((-logits,)), masks)
    loss = segmentation_loss("dice-bce", auxiliary=0.5, boundary=0.25)
    assert torch.allclose(loss(Outputs((logits, -logits)), masks), one + 0.5 * two)
    assert torch.allclose(loss(Outputs((logits, logits, -logits)), masks), one + 0.25 * (one + two))
    edge = plain(Outputs((logits,)), boundary_map(masks))
    assert torch.allclose(loss(Outputs((logits,), (logits,)), masks), one + 0.25 * edge)


def test_a_coarse_boundary_is_where_one_of_its_pixels_is() -> None:
    masks = torch.zeros(1, 1, 16, 16)
    masks[..., 5:, 5:] = 1
    # The edge runs through the rows and columns 4 and 5, which lie in the second of four cells.
    wanted = torch.full((1, 1, 4, 4), -1.0)
    wanted[..., 1, 1:] = wanted[..., 1:, 1] = 1
    loss = segmentation_loss("bce", auxiliary=0, boundary=1)
    sure = 30 * (2 * masks - 1)
    assert loss(Outputs((sure,), (30 * wanted,)), masks).item() == pytest.approx(0, abs=1e-6)
    assert loss(Outputs((sure,), (30 * wanted.flip(-1),)), masks) > 1


def test_boundaries_are_the_morphological_gradient() -> None:
    masks = (torch.rand(2, 1, 9, 7, generator=torch.Generator().manual_seed(1)) > 0.8).float()
    found = boundary_map(masks)
    for image, row, column in np.ndindex(2, 9, 7):
        window = masks[image, 0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        assert found[image, 0, row, column] == float(window.min() != window.max())
    assert torch.equal(found, boundary_map(1 - masks))
    assert not boundary_map(torch.ones(1, 1, 4, 4)).any()


def test_losses_of_masks_are_float32_inside_autocast() -> None:
    logits, masks = masks_batch()
    half = logits.bfloat16()
    loss = segmentation_loss("dice-bce", auxiliary=0.4, boundary=0.4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(Outputs((half, half), (half,)), masks)
    assert inside.dtype == torch.float32
    whole = half.float()
    assert torch.equal(inside, loss(Outputs((whole, whole), (whole,)), masks))
