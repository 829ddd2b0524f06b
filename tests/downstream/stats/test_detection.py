"""Tests of the blind test's figures: by hand, by invariants, and against statsmodels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.downstream.stats.detection import detection

COUNTS = st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(
    lambda totals: st.tuples(
        st.integers(0, totals[0]), st.just(totals[0]), st.integers(0, totals[1]), st.just(totals[1])
    )
)


def test_by_hand() -> None:
    # H = 16.5 / 21 = 0.7857, z 0.7916; F = 4.5 / 21 = 0.2143, z -0.7916.
    found = detection(16, 20, 4, 20)
    assert (found.n, found.right, found.accuracy) == (40, 32, 0.8)
    assert found.d_prime == pytest.approx(1.5833, abs=1e-3)
    assert found.bias == pytest.approx(0, abs=1e-12)
    # Wilson: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    assert (found.low, found.high) == pytest.approx((0.6524, 0.8950), abs=1e-3)
    assert found.p < 0.001


def test_one_who_guesses_has_a_d_prime_of_0() -> None:
    found = detection(10, 20, 10, 20)
    assert found.d_prime == pytest.approx(0, abs=1e-12)
    assert found.d_low < 0 < found.d_high
    assert found.p == pytest.approx(1)
    # Who always says real: nothing is told apart, and the bias is large.
    always = detection(0, 20, 0, 20)
    assert always.d_prime == pytest.approx(0, abs=1e-12)
    assert always.bias > 1.5


@given(COUNTS)
def test_the_interval_is_that_of_statsmodels(counts: tuple[int, int, int, int]) -> None:
    from statsmodels.stats.proportion import proportion_confint

    hits, synthetic, false_alarms, real = counts
    found = detection(*counts)
    assert found.right == hits + real - false_alarms
    low, high = proportion_confint(found.right, found.n, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.d_low < found.d_prime < found.d_high
    # Who says the opposite of everything sees as much, with the other sign.
    other = detection(synthetic - hits, synthetic, real - false_alarms, real)
    assert other.d_prime == pytest.approx(-found.d_prime, abs=1e-9)
    assert other.bias == pytest.approx(-found.bias, abs=1e-9)


@pytest.mark.parametrize("counts", [(0, 0, 0, 5), (0, 5, 0, 0), (6, 5, 0, 5), (0, 5, -1, 5)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="images of both kinds"):
        detection(*counts)
