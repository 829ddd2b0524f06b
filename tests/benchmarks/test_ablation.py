"""Tests of the ablation's figures."""

import numpy as np
import pytest
import torch
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

from benchmarks.ablation import diversity


def images(count: int, noise: float) -> np.ndarray:
    """One random picture with noise of its own on each copy, (count, 192, 192, 3) uint8."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(60, 190, (1, 192, 192, 3))
    return (picture + noise * rng.standard_normal((count, 192, 192, 3))).clip(0, 255).astype("u1")


def test_equal_images_have_no_diversity_and_noisier_ones_more() -> None:
    assert diversity(images(3, 0)) == pytest.approx(0, abs=1e-5)
    assert 0.001 < diversity(images(3, 5)) < diversity(images(3, 30))


def test_it_is_the_mean_over_the_pairs() -> None:
    drawn = images(3, 20)
    measured = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0)
    tensors = torch.from_numpy(drawn).movedim(-1, 1).float() / 255
    pairs = [(0, 1), (0, 2), (1, 2)]
    each = [1 - float(measured(tensors[a : a + 1], tensors[b : b + 1])) for a, b in pairs]
    assert diversity(drawn) == pytest.approx(np.mean(each), abs=1e-5)
