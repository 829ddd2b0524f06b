"""The controls: real images alone, in epochs."""

import numpy as np

from didgen.downstream.benchmark.arms.original import Original, OriginalEpochs
from didgen.downstream.data.images import Images
from tests.fixtures.benchmarks import batches_of, given_images


def test_it_draws_the_real_images_and_no_other(images: Images) -> None:
    for use in (Original(), OriginalEpochs()):
        made = use.training_set(given_images(images))
        assert made.images is images
        assert made.real == len(images)
        places = np.concatenate(batches_of(made, batch_size=6, steps=4))
        assert sorted(places[:12]) == sorted(places[12:]) == list(range(12))
    assert OriginalEpochs.epochs and not Original.epochs
