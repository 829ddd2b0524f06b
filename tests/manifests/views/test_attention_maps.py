"""Tests of attention histories: the way into a row and back, and rows of something else."""

import json
from typing import Any

import numpy as np
import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.views.attention_maps import (
    FIELD,
    MOMENTS,
    AttentionHistory,
    moments,
    stretched,
)


@pytest.fixture
def history() -> AttentionHistory:
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 256, (3, 16, 16), np.uint8)
    return AttentionHistory((1, 5, 9), 9, maps, rng.integers(0, 256, (32, 32), np.uint8))


def test_a_row_gives_back_what_it_was_given(history: AttentionHistory) -> None:
    row = json.loads(json.dumps({FIELD: history.to_row()}))
    again = AttentionHistory.of_row(row, "one")
    assert again is not None
    assert (again.steps, again.of) == ((1, 5, 9), 9)
    np.testing.assert_array_equal(again.maps, history.maps)
    np.testing.assert_array_equal(again.propagated, history.propagated)
    assert AttentionHistory.of_row({}, "one") is None


@pytest.mark.parametrize(
    "change",
    [
        {"maps": "no base64!"},
        {"maps": "AAAA"},
        {"steps": []},
        {"steps": [1, 2, 3, 4, 5]},
        {"steps": [1] * 20},
        {"of": 0},
        {"more": 1},
    ],
)
def test_a_row_with_something_else_is_refused(
    history: AttentionHistory, change: dict[str, Any]
) -> None:
    with pytest.raises(DidgenError, match="maps of one are not what didgen writes"):
        AttentionHistory.of_row({FIELD: history.to_row() | change}, "one")


def test_maps_are_stretched_each_by_itself() -> None:
    maps = np.stack([np.linspace(0, 1e-3, 16).reshape(4, 4), np.full((4, 4), 0.3)])
    levels = stretched(maps)
    assert levels.dtype == np.uint8
    assert (levels[0].min(), levels[0].max()) == (0, 255)
    assert not levels[1].any()


def test_moments_are_spread_from_the_first_to_the_last() -> None:
    assert moments(20) == [0, 4, 8, 11, 15, 19]
    for steps in range(1, 60):
        found = moments(steps)
        assert len(found) == min(steps, MOMENTS)
        assert found[0] == 0 and found[-1] == steps - 1
