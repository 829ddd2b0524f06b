"""The choice among uses of synthetic data, on validation images alone.

Each use is scored by its mean over networks, scales and seeds. The best one is not taken blindly:
the simplest use that lies within one standard error of it is (the rule of Breiman et al. 1984). The
error is that of the paired difference to the best use, with seeds and units as samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from didgen.downstream.stats.bootstrap import bootstrap_mean
from didgen.downstream.stats.paired import Interval, crossed_test, t_test, unit_means, unit_strata
from didgen.downstream.stats.power import standard_error


@dataclass(frozen=True)
class Candidate:
    """One use: its mean score with the interval over units, and how far it lies behind the best.

    error: the standard error of that difference. chosen: whether it is the one that is tested.
    """

    name: str
    mean: float
    interval: Interval | None
    behind: float
    error: float
    chosen: bool = False


def choose(
    scores: Mapping[str, Sequence[ArrayLike]],
    units: ArrayLike,
    higher_is_better: bool = True,
    labels: ArrayLike | None = None,
) -> tuple[Candidate, ...]:
    """Rank uses, which come in the order of their simplicity; one of them is chosen.

    scores: of each use, (S, N) of every network and scale, alike for all uses. units: (N,).
    labels: (N,) the class of each image, where scores are weighted by class.
    """
    if not scores:
        return ()
    means = {
        name: np.mean([unit_means(np.atleast_2d(np.asarray(part)), units) for part in of], 0)
        for name, of in scores.items()
    }
    sign = 1.0 if higher_is_better else -1.0
    best = max(means.values(), key=lambda part: sign * float(part.mean()))
    strata = None if labels is None else unit_strata(labels, units)
    found = [_candidate(name, part, sign * (best - part), strata) for name, part in means.items()]
    first = next(n for n, one in enumerate(found) if one.behind <= one.error)
    return tuple(
        Candidate(**(vars(one) | {"chosen": place == first})) for place, one in enumerate(found)
    )


def _candidate(
    name: str,
    scores: NDArray[np.float64],
    behind: NDArray[np.float64],
    strata: NDArray[np.int64] | None,
) -> Candidate:
    test = crossed_test(behind) if len(behind) > 1 else t_test(behind[0])
    by_unit = scores.mean(0)
    return Candidate(
        name,
        float(scores.mean()),
        bootstrap_mean(by_unit, strata=strata),
        float(behind.mean()),
        standard_error(test) or 0.0,
    )
