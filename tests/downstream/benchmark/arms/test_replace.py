"""Replace: the class counts of oversampling, its repeats made synthetic."""

from collections import Counter

import numpy as np
import pytest

from didgen.downstream.benchmark.arms.replace import Replace
from didgen.downstream.data.images import Images
from tests.fixtures.benchmarks import batches_of, given_images

REAL = [0, 1, 2, 3, 4, 6, 7, 10]
"""Five images of the first class, two of the second, one of the third."""

SYNTHETIC = [5, 8, 9, 11]
"""One, two and one."""


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_an_epoch_has_the_counts_of_oversampling(images: Images, share: float) -> None:
    given = given_images(images.take(REAL), images.take(SYNTHETIC), share=share)
    made = Replace().training_set(given)
    labels = made.images.labels
    replaced = 0
    for epoch in batches_of(made, batch_size=15, steps=40):
        assert np.bincount(labels[epoch]).tolist() == [5, 5, 5]
        # Each real image is there, and the largest class has no repeat to replace.
        assert set(range(8)) <= set(epoch)
        synthetic = [place for place in epoch if place >= 8]
        assert 8 not in synthetic
        replaced += len(synthetic)
        if share == 1.0:
            # Three repeats of the second class and four of the third, evenly over its samples.
            counts = Counter(synthetic)
            assert {counts[9], counts[10]} == {1, 2}
            assert counts[11] == 4
    assert abs(replaced / (40 * 7) - share) < 0.1


def test_a_class_without_synthetic_images_keeps_its_repeats(images: Images) -> None:
    given = given_images(images.take(REAL), images.take([8, 9]), share=1.0)
    made = Replace().training_set(given)
    (epoch,) = batches_of(made, batch_size=15, steps=1)
    assert Counter(epoch)[7] == 5
