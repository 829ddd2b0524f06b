"""Peak memory: what is taken is seen, and what was given back before is not."""

import numpy as np
import pytest

from didgen.downstream.benchmark.memory import STATUS, peak_memory, start_measuring

BLOCK = 200 * 2**20


@pytest.mark.skipif(not STATUS.is_file(), reason="only Linux tells a process its peak")
def test_the_peak_is_that_since_measuring_began() -> None:
    start_measuring()
    before = peak_memory()
    block = np.ones(BLOCK, np.uint8)
    assert block[-1] == 1
    assert peak_memory() >= before + BLOCK * 0.9
    del block
    start_measuring()
    assert peak_memory() < before + BLOCK * 0.9
