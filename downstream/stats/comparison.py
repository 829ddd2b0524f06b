"""What two arms' scores on the same test images say: every test, and one sentence."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike
from statsmodels.stats.multitest import multipletests

from didgen.downstream.stats.bootstrap import RESAMPLES, bootstrap_mean
from didgen.downstream.stats.paired import (
    LEVEL,
    EffectSize,
    Floats,
    Interval,
    McNemar,
    PairedTest,
    crossed_test,
    effect_size,
    mcnemar,
    t_test,
    unit_means,
    wilcoxon,
)
from didgen.downstream.stats.power import smallest_gain

ALPHA = 0.05
"""A difference is called shown when p, after Holm where it applies, lies below this."""

GAIN, LOSS = "gain", "loss"
NULL = "no difference shown (null result)"
UNTESTED = "not tested"
UNJUDGED = "interval alone"


@dataclass(frozen=True)
class Summary:
    """A figure over the seeds of one arm: mean, standard deviation and the t interval of the mean.

    With one seed there is neither deviation nor interval: None.
    """

    mean: float
    seeds: int
    deviation: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Contrast:
    """What is compared: two arms by their names, on one score of one model."""

    model: str
    score: str
    control: str
    treatment: str
    higher_is_better: bool


@dataclass(frozen=True)
class Comparison(Contrast):
    """Treatment against control, on one score of one model.

    means and difference (treatment - control): over seeds and then over units, each unit
    counting the same. What the p of each test means:

    over_units: paired t-test, seeds averaged; new units, these very networks.
    wilcoxon: the same units, by ranks.
    over_seeds: paired t-test of the seeds' means; new trainings, these very units.
    crossed: new trainings and new units; the one that the verdict goes by. With one seed there
        is none, the verdict goes by `over_units`, and the sentence says so.
    mcnemar: one a seed, of right and wrong answers; empty for other scores.

    units: how many, each a `unit`: a lesion, or a patient where known. bootstrap: interval of the
    difference by resampling units, seeds averaged. p_holm: the
    verdict's p after Holm's correction over `family` comparisons. part: of whose images the scores
    are. judged: whether there is a verdict; a comparison of no family has its interval alone.
    """

    seeds: int
    units: int
    images: int
    control_mean: float
    treatment_mean: float
    difference: float
    over_units: PairedTest
    wilcoxon: PairedTest
    over_seeds: PairedTest
    crossed: PairedTest
    bootstrap: Interval | None
    effect: EffectSize
    mcnemar: tuple[McNemar, ...] = ()
    part: str = "test"
    unit: str = "lesion"
    judged: bool = True
    family: int = 1
    p_holm: float | None = None

    @property
    def deciding(self) -> PairedTest:
        """The test that the verdict goes by."""
        return self.crossed if self.seeds > 1 else self.over_units

    @property
    def p(self) -> float | None:
        """The verdict's p: after Holm where the comparison is one of several."""
        return self.deciding.p if self.p_holm is None else self.p_holm

    @property
    def smallest_gain(self) -> float | None:
        """The difference that the test finds four times out of five, at the strictest level that
        Holm's correction may ask; None where it has no spread to go by."""
        return smallest_gain(self.deciding, ALPHA / self.family)

    @property
    def verdict(self) -> str:
        """`gain`, `loss`, `no difference shown (null result)`, `not tested` or `interval alone`."""
        if self.p is None:
            return UNTESTED
        if not self.judged:
            return UNJUDGED
        if self.p >= ALPHA:
            return NULL
        return GAIN if (self.difference > 0) == self.higher_is_better else LOSS

    @property
    def sentence(self) -> str:
        """The verdict in plain words, with interval, p and what it rests on."""
        where = "" if self.part == "test" else f" ({self.part})"
        change = (
            f"{self.model}, {self.score}{where}: {self.verdict}; {self.treatment} minus "
            f"{self.control} is {self.difference:+.4g}"
        )
        test = self.deciding
        if self.p is None or test.interval is None:
            return f"{change} ({test.note})."
        low, high = test.interval
        interval = f"{LEVEL:.0%} interval {low:+.4g} to {high:+.4g}"
        if not self.judged:
            return f"{change} ({interval}; {self._basis})."
        corrected = f" after Holm over {self.family} comparisons" if self.family > 1 else ""
        least = self.smallest_gain
        able = "" if least is None else f"A difference of {least:.2g} could have been shown: "
        return f"{able}{change} ({interval}, p = {self.p:.2g}{corrected}; {self._basis})."

    @property
    def _basis(self) -> str:
        units = f"{self.units} {plural(self.unit)}"
        if self.seeds == 1:
            return f"{units}; one seed, so it holds for these two networks only"
        luck = "; two seeds hardly ever show a difference" if self.seeds == 2 else ""
        return f"{self.seeds} seeds and {units}{luck}"

    def to_dict(self) -> dict[str, Any]:
        """All fields, the verdict and the sentence, as JSON can hold them."""
        return {
            **asdict(self),
            "smallest_gain": self.smallest_gain,
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


def compare(
    contrast: Contrast,
    control: ArrayLike,
    treatment: ArrayLike,
    units: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare scores per test image (log-loss, correctness, Dice ...) of two arms.

    control, treatment: (S, N) finite, or (N,) for one seed; row s of both arms is the same seed,
    column i the same image. Booleans are right and wrong answers, and get McNemar's test too, on
    units: one is right where more than half of its images are. units: (N,), the lesion or patient
    of each image; None where every image is a unit of its own.
    """
    before, after = np.atleast_2d(np.asarray(control)), np.atleast_2d(np.asarray(treatment))
    if before.shape != after.shape:
        raise ValueError(f"control {before.shape} and treatment {after.shape} differ in shape")
    if before.ndim != 2 or before.size == 0:
        raise ValueError(f"scores have the shape (seeds, images), not {before.shape}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ValueError(f"a score of {contrast.model} is not finite ({contrast.score})")
    if units is None:
        units = np.arange(before.shape[1])
    right = before.dtype == after.dtype == np.bool_
    of_control, of_treatment = unit_means(before, units), unit_means(after, units)
    differences = of_treatment - of_control
    by_unit = differences.mean(0)
    return Comparison(
        **vars(contrast),
        seeds=differences.shape[0],
        units=differences.shape[1],
        images=before.shape[1],
        control_mean=float(of_control.mean()),
        treatment_mean=float(of_treatment.mean()),
        difference=float(differences.mean()),
        over_units=t_test(by_unit),
        wilcoxon=wilcoxon(by_unit),
        over_seeds=t_test(differences.mean(1)),
        crossed=crossed_test(differences),
        bootstrap=bootstrap_mean(by_unit, resamples=resamples),
        effect=effect_size(by_unit),
        mcnemar=tuple(
            mcnemar(old > 0.5, new > 0.5)
            for old, new in zip(of_control, of_treatment, strict=True)
            if right
        ),
    )


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Holm's correction (1979) of one family: the same score and arms over several models.

    The chance of one or more false verdicts among all then stays below 0.05. What was not tested
    stays so and counts in no family.
    """
    tested = [one.deciding.p for one in comparisons if one.deciding.p is not None]
    if not tested:
        return list(comparisons)
    corrected = iter(multipletests(tested, ALPHA, method="holm")[1])
    return [
        one
        if one.deciding.p is None
        else replace(one, family=len(tested), p_holm=float(next(corrected)))
        for one in comparisons
    ]


def plural(unit: str) -> str:
    """Several units in words: `patients or lesions` of a `patient or lesion`."""
    return " or ".join(f"{word}s" for word in unit.split(" or "))


def summarise(figures: ArrayLike) -> Summary:
    """The figure of an arm over its seeds (S,), such as balanced accuracy: mean and t interval."""
    figures = np.asarray(figures, np.float64)
    mean, seeds = float(figures.mean()), len(figures)
    if seeds < 2:
        return Summary(mean, seeds, None, None)
    deviation = float(figures.std(ddof=1))
    reach = float(scipy.stats.t.ppf((1 + LEVEL) / 2, seeds - 1)) * deviation / seeds**0.5
    return Summary(mean, seeds, deviation, (mean - reach, mean + reach))


def balanced(scores: ArrayLike, labels: ArrayLike, units: ArrayLike) -> Floats:
    """Scores weighted such that their mean over units is the mean over classes.

    scores: (S, N) or (N,), labels, units: (N,). Most lesions are nevi, so that a plain mean says
    little of the rare classes; weighted correctness has balanced accuracy as its mean, and
    `compare` takes it as any score. Each unit counts the same in every class that it has images of.
    """
    _, places, sizes = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
    _, classes = np.unique(np.asarray(labels), return_inverse=True)
    members = np.zeros((len(sizes), int(classes.max()) + 1))
    np.add.at(members, (places, classes), 1)
    per_class = np.count_nonzero(members, 0)
    weights = len(sizes) * sizes[places] / members[places, classes]
    return np.asarray(scores, np.float64) * weights / (len(per_class) * per_class[classes])
