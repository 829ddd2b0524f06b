"""Tests of bootstrap intervals: coverage, lesions kept whole, classes kept full."""

import numpy as np
import pytest

from didgen.downstream.stats.bootstrap import bootstrap_figure, bootstrap_mean


def test_interval_of_the_mean_covers_it() -> None:
    rng, covered, trials = np.random.default_rng(0), 0, 200
    for _ in range(trials):
        low, high = bootstrap_mean(rng.exponential(1, 40), resamples=500) or (0, 0)
        covered += low <= 1 <= high
    # A skewed sample of 40: the nominal 95 % less what so few units cost.
    assert 0.88 <= covered / trials <= 0.99


def test_degenerate_samples() -> None:
    assert bootstrap_mean([1.0]) is None
    assert bootstrap_mean([0.25, 0.25, 0.25]) == (0.25, 0.25)


def test_lesions_are_drawn_whole_and_as_many_of_each_class() -> None:
    rng = np.random.default_rng(1)
    lesions = rng.integers(0, 40, 150)
    classes = lesions % 3
    images = {lesion: np.flatnonzero(lesions == lesion) for lesion in set(lesions.tolist())}
    wanted = np.bincount([lesion % 3 for lesion in images])
    drawn: list[np.ndarray] = []

    def figure(indices: np.ndarray) -> float:
        drawn.append(indices)
        return float(indices.mean())

    low, high = bootstrap_figure(figure, lesions, strata=classes, resamples=50)
    assert low < high
    for indices in drawn:
        counts = np.bincount(indices, minlength=150)
        per_class = np.zeros(3)
        for lesion, members in images.items():
            assert len(set(counts[members].tolist())) == 1
            per_class[lesion % 3] += counts[members[0]]
        assert per_class.tolist() == wanted.tolist()


def test_its_width_is_that_of_lesions_not_of_images() -> None:
    rng = np.random.default_rng(2)
    means = rng.normal(0, 1, 60)
    lesions, values = np.repeat(np.arange(60), 5), np.repeat(means, 5)
    low, high = bootstrap_figure(lambda indices: float(values[indices].mean()), lesions)
    assert (high - low) / 2 == pytest.approx(1.96 * means.std() / np.sqrt(60), rel=0.1)


def test_a_patient_of_two_classes_is_drawn_among_its_like() -> None:
    # Here it is the only one.
    assert bootstrap_figure(lambda drawn: float(drawn.mean()), [1, 1], strata=[0, 1]) == (0.5, 0.5)


def test_strata_keep_the_spread_between_classes_out() -> None:
    # Rare and common units of steady scores, weighted such that the mean is that over classes.
    values, classes = np.array([3.0] * 4 + [0.75] * 16), np.repeat([0, 1], [4, 16])
    assert bootstrap_mean(values, strata=classes) == (1.2, 1.2)
    low, high = bootstrap_mean(values) or (0, 0)
    assert low < 1.0 and high > 1.4


def test_within_strata_the_width_is_that_of_the_formula() -> None:
    rng = np.random.default_rng(5)
    classes = np.repeat([0, 1], [50, 200])
    values = rng.normal(0, 1, 250) + 10 * classes
    low, high = bootstrap_mean(values, strata=classes) or (0, 0)
    parts = [values[classes == one] for one in (0, 1)]
    error = np.sqrt(sum(len(part) * part.var() for part in parts)) / 250
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)
