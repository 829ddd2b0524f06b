"""Losses against the formulas they stand for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from downstream.losses import classification_loss

LABELS = np.array([0] * 6 + [1] * 3 + [2])


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])


@pytest.mark.parametrize("arm", ["original", "original-epochs", "oversampled", "didgen"])
def test_most_arms_have_plain_cross_entropy(arm) -> None:
    logits, labels = batch()
    loss = classification_loss(arm, LABELS, 3, 2.0)(logits, labels)
    assert torch.allclose(loss, F.cross_entropy(logits, labels))


def test_class_weights_are_one_over_the_images_of_a_class() -> None:
    logits, labels = batch()
    loss = classification_loss("class-weighted", LABELS, 3, 2.0)
    assert torch.allclose(loss.weight, torch.tensor([10 / 18, 10 / 9, 10 / 3]))
    weights = [10 / 3 / [6, 3, 1][label] for label in labels]
    nats = F.cross_entropy(logits, labels, reduction="none").tolist()
    oracle = sum(w * n for w, n in zip(weights, nats, strict=True)) / sum(weights)
    assert loss(logits, labels).item() == pytest.approx(oracle)
    # Over the whole training set the mean weight of an image is 1.
    assert loss.weight[torch.from_numpy(LABELS)].mean().item() == pytest.approx(1)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_is_its_formula(gamma) -> None:
    logits, labels = batch()
    chances = logits.softmax(1)[torch.arange(8), labels]
    oracle = (-((1 - chances) ** gamma) * chances.log()).mean()
    loss = classification_loss("focal", LABELS, 3, gamma)
    assert torch.allclose(loss(logits, labels), oracle)
    # It never weighs an image more than cross-entropy does, and spares the easy ones.
    assert loss(logits, labels) < F.cross_entropy(logits, labels)
