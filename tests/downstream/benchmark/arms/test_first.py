"""First: synthetic images up to the step, real ones from it."""

import pytest

from didgen.downstream.benchmark.arms.first import First
from didgen.downstream.data.images import Images
from tests.fixtures.benchmarks import batches_of, given_images


@pytest.mark.parametrize(("share", "switch"), [(0.2, 4), (0.5, 10), (0.73, 15)])
def test_it_switches_at_the_step(images: Images, share: float, switch: int) -> None:
    given = given_images(images.take(range(8)), images.take(range(8, 12)), share=share)
    batches = batches_of(First().training_set(given), batch_size=3, steps=20)
    assert all(min(batch) >= 8 for batch in batches[:switch])
    assert all(max(batch) < 8 for batch in batches[switch:])
