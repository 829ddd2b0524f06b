"""Only: no real image is drawn."""

from didgen.downstream.benchmark.arms.only import Only
from didgen.downstream.data.images import Images
from tests.fixtures.benchmarks import batches_of, given_images


def test_it_draws_the_synthetic_images_alone(images: Images) -> None:
    made = Only().training_set(given_images(images.take(range(8)), images.take(range(8, 12))))
    assert made.images.keys == images.keys[8:]
    assert made.real == 0
    (epoch,) = batches_of(made, batch_size=4, steps=1)
    assert sorted(epoch) == [0, 1, 2, 3]
