"""The union: every image of both, once an epoch."""

import numpy as np

from didgen.downstream.benchmark.arms.union import Filter, Union
from didgen.downstream.data.images import Images
from tests.fixtures.benchmarks import batches_of, given_images


def test_an_epoch_has_every_image_once(images: Images) -> None:
    made = Union().training_set(given_images(images.take(range(7)), images.take(range(7, 12))))
    assert made.images.keys == images.keys
    assert (made.real, made.weights) == (7, None)
    (epoch,) = batches_of(made, batch_size=12, steps=1)
    assert sorted(epoch) == list(range(12))


def test_synthetic_samples_weigh_what_the_arm_says(images: Images) -> None:
    given = given_images(images.take(range(7)), images.take(range(7, 12)), weight=0.25)
    for use in (Union(), Filter()):
        weights = use.training_set(given).weights
        assert weights is not None and np.array_equal(weights, [1.0] * 7 + [0.25] * 5)
    assert Filter.filtered and not Union.filtered
