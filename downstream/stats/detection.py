"""Signal detection: how well somebody tells synthetic images from real ones.

d' = z(H) - z(F), z the inverse of the normal distribution, H the share of synthetic images that
were called synthetic, F that of real ones. Both counts get 0.5 added and both totals 1, so that it
is finite (Hautus 1995).
"""

from dataclasses import dataclass
from math import sqrt

from scipy.stats import binomtest, norm


@dataclass(frozen=True)
class Detection:
    """The figures of a blind test; intervals are of 95 %.

    accuracy: with Wilson's interval; p: two-sided, exact, of guessing (accuracy 1/2); d_prime: with
    an interval by its asymptotic variance (Gourevitch & Galanter 1967); bias: c, above 0 for one
    who says "real" more often.
    """

    n: int
    right: int
    accuracy: float
    low: float
    high: float
    p: float
    d_prime: float
    d_low: float
    d_high: float
    bias: float


def detection(hits: int, synthetic: int, false_alarms: int, real: int) -> Detection:
    """Of `synthetic` images `hits` were called synthetic, of `real` ones `false_alarms`.

    Counts that are negative, more than there are, or of no image of either kind are a ValueError.
    """
    if min(synthetic, real) < 1 or not 0 <= hits <= synthetic or not 0 <= false_alarms <= real:
        raise ValueError("a test needs images of both kinds, and no more answers than images")
    n, right = synthetic + real, hits + real - false_alarms
    test = binomtest(right, n)
    interval = test.proportion_ci(method="wilson")
    rates = [(hits + 0.5) / (synthetic + 1), (false_alarms + 0.5) / (real + 1)]
    z_hit, z_false = (float(norm.ppf(rate)) for rate in rates)
    variance = sum(
        rate * (1 - rate) / (count * float(norm.pdf(z)) ** 2)
        for rate, count, z in zip(rates, (synthetic, real), (z_hit, z_false), strict=True)
    )
    half = float(norm.ppf(0.975)) * sqrt(variance)
    d_prime = z_hit - z_false
    return Detection(
        n,
        right,
        right / n,
        float(interval.low),
        float(interval.high),
        float(test.pvalue),
        d_prime,
        d_prime - half,
        d_prime + half,
        -(z_hit + z_false) / 2,
    )
