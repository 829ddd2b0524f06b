"""Tests of the perceptual hash: distances, and the nearest of many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from didgen.manifests.perceptual_hash import distances, nearest


@given(arrays(bool, (5, 16)), arrays(bool, (3, 16)))
def test_distances_are_those_of_the_loop(one: np.ndarray, other: np.ndarray) -> None:
    found = distances(one, other)
    for i, row in enumerate(one):
        for j, column in enumerate(other):
            assert found[i, j] == sum(a != b for a, b in zip(row, column, strict=True))


@given(arrays(bool, (7, 16)), arrays(bool, (3, 16)))
def test_the_nearest_by_blocks_is_that_of_all_at_once(one: np.ndarray, other: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("didgen.manifests.perceptual_hash.BLOCK", 3)
        places, bits = nearest(one, other)
    apart = distances(one, other)
    np.testing.assert_array_equal(places, apart.argmin(1))
    np.testing.assert_array_equal(bits, apart.min(1))
