"""Half: the share of synthetic images in every batch, exactly."""

import pytest

from didgen.downstream.benchmark.arms.half import Half
from didgen.downstream.data.images import Images
from tests.fixtures.benchmarks import batches_of, given_images


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_every_batch_has_its_share(images: Images, share: float) -> None:
    given = given_images(images.take(range(9)), images.take(range(9, 12)), share=share)
    batches = batches_of(Half().training_set(given), batch_size=8, steps=20)
    assert {sum(place >= 9 for place in batch) for batch in batches} == {8 * share}
    assert {place for batch in batches for place in batch} == set(range(12))
