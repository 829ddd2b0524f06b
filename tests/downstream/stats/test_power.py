"""Power against simulation: the smallest gain is found four times out of five."""

import numpy as np
import pytest
import scipy.stats

from didgen.downstream.stats.paired import crossed_test, t_test
from didgen.downstream.stats.power import POWER, smallest_gain, standard_error

RNG = np.random.default_rng(0)


def test_the_standard_error_is_that_of_the_mean() -> None:
    values = RNG.normal(0.3, 2, 40)
    test = t_test(values)
    assert standard_error(test) == pytest.approx(values.std(ddof=1) / 40**0.5)
    assert test.statistic == pytest.approx(values.mean() / standard_error(test))
    assert standard_error(t_test([1.0])) is None
    assert standard_error(t_test([0.0, 0.0])) == 0


@pytest.mark.parametrize(("units", "alpha"), [(5, 0.05), (30, 0.05), (30, 0.005), (200, 0.01)])
def test_a_gain_of_this_size_is_found_four_times_out_of_five(units: int, alpha: float) -> None:
    unit = t_test(RNG.normal(0, 1, units))
    gain = smallest_gain(unit, alpha)
    error = standard_error(unit)
    assert gain is not None and error is not None
    # In units of the standard error, which a simulation with deviation 1 has as 1 / sqrt(n).
    shift = gain / error / units**0.5
    p = scipy.stats.ttest_1samp(RNG.normal(shift, 1, (8000, units)), 0, axis=1).pvalue
    assert (p < alpha).mean() == pytest.approx(POWER, abs=0.02)


def test_it_shrinks_with_lesions_and_with_seeds_and_grows_with_a_stricter_level() -> None:
    effects = RNG.normal(0, 1, (10, 1)) + RNG.normal(0, 1, (10, 400))
    few, seeds, lesions = (
        smallest_gain(crossed_test(part), 0.05)
        for part in (effects[:3, :50], effects[:, :50], effects[:3])
    )
    assert few is not None and seeds is not None and lesions is not None
    assert seeds < few
    strict = smallest_gain(crossed_test(effects), 0.001)
    assert strict is not None and strict > (smallest_gain(crossed_test(effects), 0.05) or 0)


def test_without_a_spread_there_is_none() -> None:
    assert smallest_gain(t_test([0.0, 0.0, 0.0]), 0.05) is None
    assert smallest_gain(t_test([1.0]), 0.05) is None
