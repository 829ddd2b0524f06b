"""Tests of paired differences: the same test images, judged by networks of two arms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
import scipy.stats
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

Floats = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
"""Coverage of every interval."""

EXACT_BELOW = 25
"""Discordant pairs below which McNemar's test is the exact binomial one, as is usual."""

ROUNDING = 1e-12
"""Spread relative to the largest value below which differences count as equal."""


@dataclass(frozen=True)
class PairedTest:
    """One test of the hypothesis that the mean (Wilcoxon: the centre) of the differences is 0.

    n: the units whose differences were tested. interval: of the mean difference, 95 %. Where a
    test cannot be made, p and interval are None and `note` says why.
    """

    n: int
    p: float | None
    interval: Interval | None = None
    statistic: float | None = None
    df: float | None = None
    note: str = ""


@dataclass(frozen=True)
class McNemar:
    """McNemar (1947) on right and wrong answers.

    gained, lost: units that only the treatment, only the control got right. exact: whether the
    binomial test was taken (fewer than 25 of both together) and not chi-square with correction.
    """

    n: int
    gained: int
    lost: int
    exact: bool
    p: float


@dataclass(frozen=True)
class EffectSize:
    """Cohen's d_z: the mean of the differences over their standard deviation, with its interval."""

    d_z: float | None
    interval: Interval | None
    note: str = ""


def unit_means(values: ArrayLike, units: ArrayLike) -> Floats:
    """The mean of the images of each unit of the tests, a lesion or a patient.

    Images of one unit err together, so they are not independent, and a test over images takes
    chance for effect too often. values: (N,) or (S, N); units: (N,), any labels that sort.
    Returns (U,) or (S, U) in the order of the sorted labels.
    """
    values = np.asarray(values, np.float64)
    _, places, counts = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
    if values.shape[-1:] != places.shape:
        raise ValueError(f"values {values.shape} and units {places.shape} differ in images")
    sums = [np.bincount(places, row) for row in np.atleast_2d(values)]
    return (np.stack(sums) / counts).reshape(*values.shape[:-1], len(counts))


def unit_strata(labels: ArrayLike, units: ArrayLike) -> NDArray[np.int64]:
    """The stratum of each unit (U,), in the order of `unit_means`: units of the same classes.

    labels, units: (N,). A lesion has one class, and a patient may have lesions of several.
    """
    names, places = np.unique(np.asarray(units), return_inverse=True)
    _, classes = np.unique(np.asarray(labels), return_inverse=True)
    shown = np.zeros((len(names), int(classes.max()) + 1), bool)
    shown[places, classes] = True
    return np.unique(shown, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def settled(differences: Floats) -> PairedTest | None:
    """The result where there is nothing to estimate a spread from; None where there is.

    Fewer than two units, or one and the same difference everywhere, leave the test undefined;
    differences that are all 0 are the hypothesis itself: p = 1.
    """
    n = len(differences)
    if n < 2:
        return PairedTest(n, None, note=f"not tested: {n} of the 2 units that a test needs")
    if not np.any(differences):
        return PairedTest(n, 1.0, (0.0, 0.0), 0.0, note="both arms are the same everywhere")
    if np.ptp(differences) <= ROUNDING * np.abs(differences).max():
        return PairedTest(n, None, note="not tested: the difference is the same everywhere")
    return None


def t_test(differences: ArrayLike) -> PairedTest:
    """Student's paired t-test (two-sided) with the t interval of the mean; differences: (n,).

    p is the chance of a mean at least this far from 0 if the units were drawn from a population
    in which it is 0. Over units (seeds averaged first) it speaks of other units, judged by
    these very networks; over seeds of other trainings, judged on these very images.
    """
    differences = np.asarray(differences, np.float64)
    if known := settled(differences):
        return known
    result = scipy.stats.ttest_1samp(differences, 0.0)
    low, high = result.confidence_interval(LEVEL)
    return PairedTest(
        n=len(differences),
        p=float(result.pvalue),
        interval=(float(low), float(high)),
        statistic=float(result.statistic),
        df=float(result.df),
    )


def wilcoxon(differences: ArrayLike) -> PairedTest:
    """Wilcoxon's signed-rank test (two-sided): are the differences symmetric about 0?

    differences: (n,). Ranks do not feel how long the tails are, which those of log-loss are.
    Zeros are left out. It has no interval: it is not a test of the mean.
    """
    differences = np.asarray(differences, np.float64)
    n = len(differences)
    if n < 2 or not np.any(differences):
        return settled(differences) or PairedTest(n, None)
    result = scipy.stats.wilcoxon(differences)
    return PairedTest(n=n, p=float(result.pvalue), statistic=float(result.statistic))


def crossed_test(differences: ArrayLike) -> PairedTest:
    """Test of the mean when seeds and units are both samples (Dorfman, Berbaum and Metz 1992).

    differences: (S, U), each seed's on each unit. As in reader studies, with seeds as readers
    and units as cases: the variance of the mean is (max(MS_S, MS_SU) + max(MS_U - MS_SU, 0))
    / (S U), its degrees of freedom are Satterthwaite's, U - 1 at most. MS_S, which is MS_SU or more
    but for chance, has S - 1 degrees of freedom; without that floor seeds that agree by luck would
    make this test less strict than one over units alone, which takes a seed's luck for an effect.
    p speaks of new trainings on new units, which is what "the augmentation helps" claims.

    Of simulated cases without an effect it calls at most 8 % one with three seeds, 6 % with five,
    at the level of 5 %. The spread of two says too little for that: they get the t distribution
    with one degree of freedom, which hardly ever shows a difference.
    """
    differences = np.asarray(differences, np.float64)
    seeds, units = differences.shape
    if seeds < 2:
        return PairedTest(seeds, None, note=f"not tested: {seeds} of the 2 seeds that it needs")
    if units < 2:
        return PairedTest(units, None, note=f"not tested: {units} of the 2 units it needs")
    if known := settled(differences.ravel()):
        return PairedTest(units, known.p, known.interval, known.statistic, note=known.note)
    mean = differences.mean()
    by_seed, by_unit = differences.mean(1), differences.mean(0)
    rest = differences - by_seed[:, None] - by_unit + mean
    of_seeds = units * by_seed.var(ddof=1)
    of_units = seeds * by_unit.var(ddof=1)
    of_rest = np.square(rest).sum() / ((seeds - 1) * (units - 1))
    excess = max(of_units - of_rest, 0.0)
    floor, floor_df = max((of_seeds, seeds - 1), (of_rest, (seeds - 1) * (units - 1)))
    total = floor + excess
    error = math.sqrt(total / (seeds * units))
    if error <= ROUNDING * np.abs(differences).max():
        return PairedTest(units, None, note="not tested: seeds and units agree without spread")
    df = total**2 / (floor**2 / floor_df + excess**2 / (units - 1))
    df = 1.0 if seeds == 2 else min(df, units - 1)
    reach = scipy.stats.t.ppf((1 + LEVEL) / 2, df) * error
    return PairedTest(
        n=units,
        p=float(2 * scipy.stats.t.sf(abs(mean) / error, df)),
        interval=(float(mean - reach), float(mean + reach)),
        statistic=float(mean / error),
        df=float(df),
    )


def mcnemar(control: ArrayLike, treatment: ArrayLike) -> McNemar:
    """McNemar's test: of the units only one arm gets right, does either arm get more?

    control, treatment: (n,) boolean, whether right, one seed each. p is the chance of a split at
    least this uneven if each such unit were a coin's throw; 1 where there are none.
    """
    before, after = np.asarray(control, bool), np.asarray(treatment, bool)
    if before.shape != after.shape:
        raise ValueError(f"control {before.shape} and treatment {after.shape} differ in shape")
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    exact = gained + lost < EXACT_BELOW
    table = [[int((before & after).sum()), lost], [gained, int((~before & ~after).sum())]]
    result = statsmodels_mcnemar(table, exact=exact, correction=True)
    return McNemar(len(before), gained, lost, exact, float(min(result.pvalue, 1.0)))


def effect_size(differences: ArrayLike) -> EffectSize:
    """Cohen's d_z of differences (n,); its interval inverts the noncentral t distribution.

    0.2 is called small, 0.5 medium, 0.8 large (Cohen 1988).
    """
    differences = np.asarray(differences, np.float64)
    if known := settled(differences):
        return EffectSize(None, None, known.note)
    n = len(differences)
    d_z = float(differences.mean() / differences.std(ddof=1))
    tails: Sequence[float] = ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    low, high = (
        float(scipy.special.nctdtrinc(n - 1, tail, d_z * math.sqrt(n))) / math.sqrt(n)
        for tail in tails
    )
    return EffectSize(d_z, (low, high))
