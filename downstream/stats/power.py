"""Power: the smallest difference that a test of this size could have shown."""

import math

import scipy.special
import scipy.stats

from didgen.downstream.stats.paired import LEVEL, PairedTest

POWER = 0.8
"""How often a true difference of that size would be found."""

FREE = 1e6
"""Degrees of freedom of a t distribution that is as good as normal."""


def standard_error(test: PairedTest) -> float | None:
    """The standard error of the mean difference of a t test, by its interval; None without one."""
    if test.interval is None:
        return None
    low, high = test.interval
    return (high - low) / 2 / float(scipy.stats.t.ppf((1 + LEVEL) / 2, test.df or FREE))


def smallest_gain(test: PairedTest, alpha: float) -> float | None:
    """The difference that the test, at the level `alpha`, finds four times out of five.

    By the noncentral t distribution with the test's own standard error and degrees of freedom; None
    where it has no error to go by.
    """
    error = standard_error(test)
    if not error or test.df is None:
        return None
    limit = float(scipy.stats.t.ppf(1 - alpha / 2, test.df))
    shift = float(scipy.special.nctdtrinc(test.df, 1 - POWER, limit))
    if not math.isfinite(shift):
        # With very few degrees of freedom the limit is far out; there the sum of quantiles is near.
        shift = limit + float(scipy.stats.t.ppf(POWER, test.df))
    return shift * error
