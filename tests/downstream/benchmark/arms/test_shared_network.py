"""The shared network: what the generator saw, and then the arm's own images."""

from didgen.downstream.benchmark.arms.shared_network import SharedNetwork
from didgen.downstream.data.images import Images
from tests.fixtures.benchmarks import batches_of, given_images


def test_it_learns_from_the_generators_images_first(images: Images) -> None:
    real, shared = images.take([0, 6]), images.take(range(2, 9))
    made = SharedNetwork().training_set(given_images(real, shared=shared, share=0.25))
    assert made.images.keys == real.keys + shared.keys
    # All of them are real.
    assert made.real == len(made.images)
    batches = batches_of(made, batch_size=7, steps=8)
    assert [sorted(batch) for batch in batches[:2]] == [list(range(2, 9))] * 2
    assert all(set(batch) <= {0, 1} for batch in batches[2:])
