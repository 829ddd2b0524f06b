"""Rivals of class balance: counts, weights and losses by their formulas."""

import numpy as np
import pytest

from didgen.downstream.benchmark.arms.reweighted import ClassWeighted, Focal, Oversampled
from didgen.downstream.data.images import Images
from tests.fixtures.benchmarks import batches_of, given_images


def test_oversampling_shows_each_class_as_often_as_the_largest(images: Images) -> None:
    made = Oversampled().training_set(given_images(images))
    # Six of the first class, four and two of the others: an epoch has six of each.
    (epoch,) = batches_of(made, batch_size=18, steps=1)
    assert np.bincount(images.labels[epoch]).tolist() == [6, 6, 6]


def test_class_weights_are_one_over_the_images_of_a_class(images: Images) -> None:
    made = ClassWeighted().training_set(given_images(images))
    assert made.weights is not None
    oracle = [12 / (3 * {0: 6, 1: 4, 2: 2}[label]) for label in images.labels]
    assert made.weights == pytest.approx(oracle)
    # Over the whole training set the mean weight of an image is 1.
    assert made.weights.mean() == pytest.approx(1)


def test_focal_loss_changes_the_loss_alone(images: Images) -> None:
    made = Focal().training_set(given_images(images))
    assert Focal.focal and made.weights is None and made.mixing is None
    assert made.images is images
