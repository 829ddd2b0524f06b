"""The choice: the simplest use within one standard error of the best, and never by test images."""

import numpy as np
import pytest

from didgen.downstream.stats.choice import choose
from didgen.downstream.stats.paired import crossed_test
from didgen.downstream.stats.power import standard_error

LESIONS = np.repeat(np.arange(30), 2)


def scores(gain: float, seed: int) -> list[np.ndarray]:
    """Scores of two networks, three seeds and thirty lesions that are hard or easy for all uses."""
    hard = np.random.default_rng(0).normal(0, 0.2, 60)
    rng = np.random.default_rng(seed)
    return [0.7 + gain + hard + rng.normal(0, 0.02, (3, 60)) for _ in range(2)]


def test_the_best_is_chosen_where_it_is_clearly_so() -> None:
    found = choose(
        {"union": scores(0, 1), "half": scores(0.05, 2), "only": scores(-0.1, 3)}, LESIONS
    )
    assert [one.chosen for one in found] == [False, True, False]
    assert found[1].behind == 0
    assert found[0].behind == pytest.approx(0.05, abs=0.01)
    assert found[0].mean < found[1].mean
    assert found[0].interval is not None and found[0].interval[0] < found[0].mean


def test_of_uses_within_one_standard_error_the_simplest_is_taken() -> None:
    union = scores(0, 1)
    noise = np.random.default_rng(7).normal(0, 0.02, (3, 60))
    noise -= noise.mean()
    # Lesions differ far more than uses do: only their paired difference tells.
    for gain, chosen in ((0.0005, [True, False]), (0.01, [False, True])):
        found = choose({"union": union, "half": [part + gain + noise for part in union]}, LESIONS)
        assert found[0].behind == pytest.approx(gain)
        assert 0.001 < found[0].error < 0.005
        assert [one.chosen for one in found] == chosen


def test_the_error_is_that_of_the_paired_difference_over_seeds_and_lesions() -> None:
    given = {"union": scores(0, 1), "half": scores(0.05, 2)}
    found = choose(given, LESIONS)
    union, half = (np.mean(of, 0).reshape(3, 30, 2).mean(2) for of in given.values())
    assert found[0].error == pytest.approx(standard_error(crossed_test(half - union)))


def test_one_seed_and_one_use_are_enough() -> None:
    (only,) = choose({"union": [np.array([0.5, 0.7])]}, ["a", "b"])
    assert only.chosen and (only.behind, only.error) == (0, 0)
    assert choose({}, []) == ()


def test_less_may_be_better() -> None:
    given = {"union": scores(0, 1), "half": scores(0.05, 2)}
    assert choose(given, LESIONS, higher_is_better=False)[0].chosen
