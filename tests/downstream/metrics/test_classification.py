"""Tests of figures of classifiers: loops, rank statistics and the challenge's own scorer."""

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
from isic_challenge_scoring import metrics as official

from didgen.downstream.metrics.classification import (
    BINS,
    Figures,
    balanced_accuracy,
    correctness,
    figures,
    log_losses,
)

NAMES = ["MEL", "NV", "BCC"]


@pytest.fixture(scope="module")
def predicted() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (120, 3) that lean towards the labels (120,)."""
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 120, p=[0.2, 0.7, 0.1])
    logits = rng.normal(0, 1, (120, 3)) + np.eye(3)[labels]
    return scipy.special.softmax(logits, 1), labels


@pytest.fixture(scope="module")
def measured(predicted: tuple[np.ndarray, np.ndarray]) -> Figures:
    return figures(*predicted, NAMES)


def test_precision_recall_and_f1_are_those_of_loops(
    predicted: tuple[np.ndarray, np.ndarray], measured: Figures
) -> None:
    chances, labels = predicted
    guesses = [int(np.argmax(row)) for row in chances]
    rows = []
    for index, name in enumerate(NAMES):
        hits = sum(g == t == index for g, t in zip(guesses, labels, strict=True))
        precision, recall = hits / guesses.count(index), hits / (labels == index).sum()
        rows.append((precision, recall, 2 * precision * recall / (precision + recall)))
        of = measured.per_class[name]
        assert (of.precision, of.recall, of.f1) == pytest.approx(rows[-1])
    weights = [(labels == index).mean() for index in range(3)]
    for place, averages in enumerate((measured.precision, measured.recall, measured.f1)):
        column = [row[place] for row in rows]
        assert averages.macro == pytest.approx(np.mean(column))
        assert averages.weighted == pytest.approx(np.dot(column, weights))
        # One label an image: micro precision, recall and F1 are the accuracy, all three.
        assert averages.micro == pytest.approx(np.mean(np.array(guesses) == labels))
    for truth in range(3):
        for guess in range(3):
            count = sum(g == guess and t == truth for g, t in zip(guesses, labels, strict=True))
            assert measured.confusion[truth][guess] == count


def test_the_official_scorer_agrees(
    predicted: tuple[np.ndarray, np.ndarray], measured: Figures
) -> None:
    chances, labels = predicted
    truth = pd.DataFrame(np.eye(3)[labels], columns=NAMES)
    guess = pd.DataFrame(chances, columns=NAMES)
    weights = pd.Series(np.ones(len(labels)))
    assert measured.balanced_accuracy == pytest.approx(
        official.balanced_multiclass_accuracy(truth, guess, weights)
    )
    for name in NAMES:
        expected = official.auc(truth[name], guess[name], weights)
        assert measured.per_class[name].auc == pytest.approx(expected)


def test_auc_is_the_share_of_pairs_in_order(
    predicted: tuple[np.ndarray, np.ndarray], measured: Figures
) -> None:
    chances, labels = predicted
    areas = []
    for index, name in enumerate(NAMES):
        ours, others = chances[labels == index, index], chances[labels != index, index]
        areas.append(np.mean([[(a > b) + 0.5 * (a == b) for b in others] for a in ours]))
        assert measured.per_class[name].auc == pytest.approx(areas[-1])
    assert measured.mean_auc == pytest.approx(np.mean(areas))


def test_calibration_error_is_that_of_a_loop(
    predicted: tuple[np.ndarray, np.ndarray], measured: Figures
) -> None:
    chances, labels = predicted
    sure, right = chances.max(1), chances.argmax(1) == labels
    error = 0.0
    for place in range(BINS):
        chosen = (sure > place / BINS) & (sure <= (place + 1) / BINS)
        if chosen.any():
            error += chosen.mean() * abs(right[chosen].mean() - sure[chosen].mean())
    assert measured.ece == pytest.approx(error, abs=1e-6)


def test_sensitivity_is_the_best_that_the_specificity_leaves(
    predicted: tuple[np.ndarray, np.ndarray], measured: Figures
) -> None:
    chances, labels = predicted
    ours, others = chances[labels == 0, 0], chances[labels != 0, 0]
    best = max(
        (ours >= threshold).mean()
        for threshold in [*chances[:, 0], 2.0]
        if (others < threshold).mean() >= 0.9
    )
    assert measured.sensitivity == pytest.approx(best)


def test_a_perfect_and_sure_network() -> None:
    labels = np.array([0, 1, 2, 2])
    perfect = figures(np.eye(3)[labels], labels, NAMES)
    assert perfect.balanced_accuracy == perfect.mean_auc == perfect.sensitivity == 1
    assert perfect.ece == pytest.approx(0)


def test_a_class_without_images_is_none_and_counts_nowhere() -> None:
    labels = np.array([0, 1, 1, 0])
    chances = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1]])
    found = figures(chances, labels, NAMES)
    absent = found.per_class["BCC"]
    assert (absent.images, absent.precision, absent.recall, absent.auc) == (0, None, None, None)
    assert found.balanced_accuracy == pytest.approx(0.5)
    assert found.recall.macro == pytest.approx(0.5)
    none = figures(chances[:1], labels[:1], NAMES, positive="NV")
    assert none.sensitivity is None and none.mean_auc is None


def test_scores_of_single_images() -> None:
    chances, labels = np.array([[0.5, 0.5], [0.0, 1.0], [0.25, 0.75]]), np.array([0, 0, 1])
    expected = [-np.log(0.5), -np.log(1e-7), -np.log(0.75)]
    np.testing.assert_allclose(log_losses(chances, labels), expected)
    assert correctness(chances, labels).tolist() == [True, False, True]
    assert balanced_accuracy(correctness(chances, labels), labels) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("chances", "labels", "match"),
    [
        ([[0.5, 0.5]], [0, 1], "do not match"),
        ([[0.5, 0.5]], [0.0], "integers"),
        ([[0.5, 0.5]], [2], "outside"),
        ([[0.5, 0.6]], [0], "no probabilities"),
        ([[1.5, -0.5]], [0], "no probabilities"),
        ([[np.nan, 1.0]], [0], "no probabilities"),
    ],
)
def test_what_is_no_prediction_is_refused(chances: object, labels: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        log_losses(np.array(chances), np.array(labels))
    with pytest.raises(ValueError, match="do not fit"):
        figures(np.array([[0.5, 0.5]]), np.array([0]), ["NV", "BCC"])
