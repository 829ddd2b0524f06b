"""Tests of what the trainings of any benchmark say together."""

import numpy as np
import pytest

from didgen.downstream.benchmark.summary import corrected, known_mean
from didgen.downstream.stats.comparison import Comparison, compare


@pytest.mark.parametrize(
    ("values", "mean"), [([1.0, None, 3.0], 2.0), ([None], None), ([], None), ([0.5], 0.5)]
)
def test_a_mean_is_that_of_what_is_known(values: list[float | None], mean: float | None) -> None:
    assert known_mean(values) == mean


def test_holm_runs_over_the_members_of_one_score() -> None:
    rng = np.random.default_rng(0)
    lesions = [f"lesion-{number}" for number in range(30)]

    def compared(model: str, score: str, effect: float) -> Comparison:
        control = rng.normal(0, 1, (3, 30))
        treatment = control + effect + rng.normal(0, 0.3, (3, 30))
        names = ("original", "didgen")
        return compare(control, treatment, lesions, model=model, score=score, names=names)

    members = [
        [compared(model, score, effect) for score in ("Dice", "IoU")]
        for model, effect in (("unet", 0.5), ("wide", 0.02))
    ]
    found = corrected(members)
    assert [(one.score, one.model) for one in found] == [
        ("Dice", "unet"),
        ("Dice", "wide"),
        ("IoU", "unet"),
        ("IoU", "wide"),
    ]
    assert {one.family for one in found} == {2}
    for family in (found[:2], found[2:]):
        small, large = sorted(family, key=lambda one: one.crossed.p)
        assert small.p_holm == pytest.approx(min(1, 2 * small.crossed.p))
        assert large.p_holm == pytest.approx(max(small.p_holm, large.crossed.p))
