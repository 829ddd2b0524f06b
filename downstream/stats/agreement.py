"""Agreement of raters on categories: Cohen's kappa of two, Fleiss' kappa of several.

kappa = (p_o - p_e) / (1 - p_e): agreement p_o beyond that of chance, p_e (Cohen 1960; Fleiss 1971).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa


@dataclass(frozen=True)
class Kappa:
    """A kappa over n items, with its 95 % interval where it has one; None where it is undefined.

    It is undefined where raters use one category alone, so that chance leaves nothing to agree on.
    observed: the share of pairs of ratings that agree, p_o.
    """

    n: int
    observed: float
    value: float | None
    low: float | None = None
    high: float | None = None


def cohen(one: Sequence[str], other: Sequence[str]) -> Kappa:
    """Cohen's kappa of two raters on the same items; the interval is asymptotic.

    No item at all is a ValueError.
    """
    if not one or len(one) != len(other):
        raise ValueError("two raters need the same items, one at least")
    categories = sorted({*one, *other})
    table = np.zeros((len(categories), len(categories)), int)
    for a, b in zip(one, other, strict=True):
        table[categories.index(a), categories.index(b)] += 1
    observed = float(np.trace(table) / table.sum())
    if len(categories) == 1:
        return Kappa(len(one), observed, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where a rater uses one category alone, its standard error divides by zero.
        found = cohens_kappa(table)
    low, high = float(found.kappa_low), float(found.kappa_upp)
    if not isfinite(high - low):
        return Kappa(len(one), observed, float(found.kappa))
    return Kappa(len(one), observed, float(found.kappa), max(low, -1.0), min(high, 1.0))


def fleiss(ratings: Sequence[Sequence[str]]) -> Kappa:
    """Fleiss' kappa over items, each with the same number of ratings, two at least.

    Another number is a ValueError.
    """
    counts = {len(item) for item in ratings}
    if len(counts) != 1 or min(counts) < 2:
        raise ValueError("each item needs the same number of ratings, two at least")
    categories = sorted({rating for item in ratings for rating in item})
    table = np.array([[item.count(name) for name in categories] for item in ratings])
    observed = _observed(table)
    if len(categories) == 1:
        return Kappa(len(ratings), observed, None)
    return Kappa(len(ratings), observed, float(fleiss_kappa(table, method="fleiss")))


def _observed(table: NDArray[np.int64]) -> float:
    """The share of pairs of ratings of an item that agree, (items, categories) being counts."""
    raters = table.sum(1)[0]
    return float(((table * (table - 1)).sum(1) / (raters * (raters - 1))).mean())
