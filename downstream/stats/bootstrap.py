"""Bootstrap confidence intervals that resample lesions or patients, with all their images."""

from collections.abc import Callable

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from didgen.downstream.stats.paired import LEVEL, Interval, settled, unit_strata

RESAMPLES = 2000
"""Resamples of an interval: its ends then stand within a few percent of its width."""


def bootstrap_mean(
    values: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """BCa interval (Efron 1987) of the mean of unit means (U,); None where U < 2.

    BCa corrects for skew, which differences of log-loss have. Values that are all the same give
    an interval without width. strata: (U,); units are then drawn within theirs, and the interval is
    that of percentiles. A mean over classes needs that: drawn from all, a class that is rare would
    have its share of the mean vary with how often it is drawn.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    if settled(values):
        return float(values.mean()), float(values.mean())
    if strata is not None:
        return bootstrap_figure(
            lambda drawn: float(values[drawn].mean()),
            np.arange(len(values)),
            strata=strata,
            resamples=resamples,
            seed=seed,
        )
    result = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 1_000_000 // len(values)),
        confidence_level=LEVEL,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def bootstrap_figure(
    figure: Callable[[NDArray[np.int64]], float],
    units: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of any figure of a test set, such as balanced accuracy or a difference.

    figure: takes the indices (M,) of the drawn images, with repeats. units: (N,). strata: (N,)
    the class of each image; units are then drawn among those of the same classes, so that none is
    lost. scipy draws single rows and cannot keep a unit's images together, so this draws itself.
    """
    names, places = np.unique(np.asarray(units), return_inverse=True)
    order = np.argsort(places, kind="stable")
    counts = np.bincount(places)
    starts = np.cumsum(counts) - counts
    groups = np.zeros(len(names), np.int64)
    if strata is not None:
        groups = unit_strata(strata, units)
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    rng = np.random.default_rng(seed)
    values = np.empty(resamples)
    for index in range(resamples):
        drawn = np.concatenate([rng.choice(group, len(group)) for group in members])
        sizes = counts[drawn]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        values[index] = figure(order[np.repeat(starts[drawn], sizes) + within])
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
