"""Families: the largest p of an intersection-union test, and wrong directions."""

import numpy as np
import pytest

from didgen.downstream.stats.comparison import NULL, UNTESTED, Comparison, Contrast, compare
from didgen.downstream.stats.families import BEATS, against_all


def compared(gain: float, rival: str, *, higher: bool = True, lesions: int = 60) -> Comparison:
    rng = np.random.default_rng(len(rival))
    before = rng.normal(0, 1, (5, lesions))
    after = before + gain + rng.normal(0, 0.1, (5, lesions))
    return compare(Contrast("net", "s", rival, "ours", higher), before, after, resamples=50)


def test_the_largest_p_decides_without_correction() -> None:
    given = [compared(1.0, "a"), compared(0.03, "bb"), compared(0.5, "ccc")]
    found = against_all(given, "net")
    assert found.p == max(one.deciding.p for one in given if one.deciding.p is not None)
    assert found.verdict == BEATS and found.least == "bb (net)"
    assert (found.rivals, found.comparisons) == (("a", "bb", "ccc"), 3)
    assert "largest p = " in found.sentence and "uncorrected" in found.sentence


def test_one_rival_that_is_better_is_enough_to_lose() -> None:
    found = against_all([compared(1.0, "a"), compared(-1.0, "bb")], "net")
    assert (found.p, found.verdict, found.least) == (1.0, NULL, "bb (net)")
    assert against_all([compared(-1.0, "a", higher=False)], "net").verdict == BEATS


def test_what_was_not_tested_is_no_victory() -> None:
    found = against_all([compared(1.0, "a"), compared(1.0, "bb", lesions=1)], "net")
    assert found.p is None and found.verdict == UNTESTED
    assert found.to_dict()["sentence"] == found.sentence


@pytest.mark.parametrize("judged", [True, False])
def test_a_comparison_of_no_family_has_its_interval_alone(judged: bool) -> None:
    from dataclasses import replace

    one = replace(compared(1.0, "a"), judged=judged, part="outside")
    assert (one.verdict == "interval alone") == (not judged)
    assert ("p = " in one.sentence) == judged
    assert "95% interval" in one.sentence and "(outside)" in one.sentence
    assert ("could have been shown" in one.sentence) == judged
