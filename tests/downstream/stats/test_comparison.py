"""Tests of comparisons: verdicts, one seed, Holm, and what a family of nulls is called."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.downstream.stats.comparison import (
    GAIN,
    LOSS,
    NULL,
    UNTESTED,
    Comparison,
    Contrast,
    balanced,
    compare,
    holm,
    plural,
    summarise,
)
from didgen.downstream.stats.paired import unit_means

CONTRAST = Contrast("m", "s", "original", "augmented", True)


def compared(effect: float, *, seeds: int = 4, seed: int = 0, higher: bool = True) -> Comparison:
    """A comparison of simulated Dice: 40 lesions of 2 images."""
    rng = np.random.default_rng(seed)
    before = 0.8 + rng.normal(0, 0.05, (1, 80)) + rng.normal(0, 0.02, (seeds, 80))
    after = before + effect + rng.normal(0, 0.02, (seeds, 80))
    lesions = np.repeat(np.arange(40), 2)
    contrast = Contrast("unet", "Dice", "original", "augmented", higher)
    return compare(contrast, before, after, lesions, resamples=200)


def test_gain_loss_and_null_are_called_by_name() -> None:
    gain, loss, null = compared(0.03), compared(-0.03), compared(0.0)
    assert (gain.verdict, loss.verdict, null.verdict) == (GAIN, LOSS, NULL)
    assert "null result" in null.sentence and "interval" in null.sentence
    assert "4 seeds and 40 lesions" in gain.sentence
    assert compared(0.03, higher=False).verdict == LOSS
    assert gain.bootstrap is not None and gain.bootstrap[0] < 0.03 < gain.bootstrap[1] + 0.01


def test_one_seed_goes_by_lesions_and_says_so() -> None:
    one = compared(0.03, seeds=1)
    assert one.crossed.p is None and one.over_seeds.p is None
    assert one.p == one.over_units.p
    assert "one seed, so it holds for these two networks only" in one.sentence


def test_equal_arms_are_a_null_result() -> None:
    scores = np.random.default_rng(0).random((3, 10))
    same = compare(CONTRAST, scores, scores)
    assert same.verdict == NULL and same.difference == 0
    single = compare(CONTRAST, np.array([1.0]), np.array([2.0]))
    assert single.verdict == UNTESTED and "1 of the 2 units" in single.sentence


def test_right_and_wrong_answers_get_mcnemar_on_lesions() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random((2, 60)) < 0.6, rng.random((2, 60)) < 0.8
    result = compare(CONTRAST, before, after)
    assert len(result.mcnemar) == 2
    for row, test in enumerate(result.mcnemar):
        assert test.gained == (after[row] & ~before[row]).sum()
        assert test.lost == (before[row] & ~after[row]).sum()
    assert compared(0.0).mcnemar == ()


def test_all_of_it_is_json() -> None:
    read = json.loads(json.dumps(compared(0.03).to_dict(), allow_nan=False))
    assert read["verdict"] == GAIN and read["over_units"]["p"] < 0.05


def test_scores_that_do_not_fit_are_refused() -> None:
    for before, after, match in (
        (np.zeros((2, 3)), np.zeros((2, 4)), "differ in shape"),
        (np.zeros((2, 0)), np.zeros((2, 0)), "seeds, images"),
        (np.array([[np.nan]]), np.array([[1.0]]), "not finite"),
    ):
        with pytest.raises(ValueError, match=match):
            compare(CONTRAST, before, after)


def test_holm_is_the_step_down_rule() -> None:
    family = [compared(effect, seed=seed) for seed, effect in enumerate((0.02, 0.004, 0.0))]
    corrected = holm(family)
    raw = [one.deciding.p for one in family if one.deciding.p is not None]
    assert len(raw) == 3
    order = np.argsort(raw)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (3 - rank) * raw[place]))
        assert corrected[place].p_holm == pytest.approx(largest)
        assert corrected[place].family == 3
    assert "after Holm over 3 comparisons" in corrected[0].sentence


def test_what_was_not_tested_counts_in_no_family() -> None:
    untested = compare(CONTRAST, np.array([1.0]), np.array([2.0]))
    one, two = holm([untested, compared(0.03)])
    assert one == untested and two.family == 1 and two.p == two.deciding.p
    assert holm([untested]) == [untested]


@pytest.mark.slow
def test_a_family_of_nulls_is_seldom_called_anything_else() -> None:
    trials, false = 120, 0
    for trial in range(trials):
        family = [compared(0.0, seed=1000 + 5 * trial + place) for place in range(5)]
        false += any(one.verdict != NULL for one in holm(family))
    # 5 % of 120 is 6; 14 or more come by chance once in 500 times.
    assert false < 14


def test_summary_of_seeds() -> None:
    summary = summarise([0.6, 0.7, 0.8])
    assert summary.mean == pytest.approx(0.7) and summary.deviation == pytest.approx(0.1)
    assert summary.interval == pytest.approx((0.7 - 0.24841, 0.7 + 0.24841), abs=1e-4)
    assert summarise([0.6]).interval is None


@given(st.integers(0, 2**31 - 1))
def test_balanced_scores_have_the_mean_over_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, correct = rng.integers(0, 3, 20), rng.random(20) < 0.5
    weighted = balanced(correct, labels, np.arange(20))
    by_class = [correct[labels == label].mean() for label in set(labels.tolist())]
    assert weighted.mean() == pytest.approx(np.mean(by_class))


def test_balanced_scores_of_patients_count_each_once_in_every_class() -> None:
    patients = np.array(["a", "a", "a", "b", "c", "c", "d"])
    labels = np.array([0, 0, 1, 0, 1, 1, 1])
    correct = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    found = unit_means(balanced(correct, labels, patients), patients)
    # Class 0: a half right, b right. Class 1: a right, c wrong, d right.
    assert found.mean() == pytest.approx(np.mean([np.mean([0.5, 1]), np.mean([1, 0, 1])]))


def test_the_unit_is_named() -> None:
    one = replace(compared(0.03), unit="patient or lesion")
    assert "4 seeds and 40 patients or lesions" in one.sentence
    assert plural("lesion") == "lesions"
