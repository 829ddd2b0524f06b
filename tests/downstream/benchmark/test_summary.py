"""Tests of what the trainings of any benchmark say together."""

import pytest

from didgen.downstream.benchmark.summary import known_mean


@pytest.mark.parametrize(
    ("values", "mean"), [([1.0, None, 3.0], 2.0), ([None], None), ([], None), ([0.5], 0.5)]
)
def test_a_mean_is_that_of_what_is_known(values: list[float | None], mean: float | None) -> None:
    assert known_mean(values) == mean
