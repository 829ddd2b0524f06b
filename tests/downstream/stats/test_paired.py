"""Tests of paired tests: scipy, by hand, and simulated data with and without an effect."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from didgen.downstream.stats.paired import (
    crossed_test,
    effect_size,
    mcnemar,
    t_test,
    unit_means,
    unit_strata,
    wilcoxon,
)

FINITE = st.floats(-100, 100, allow_subnormal=False)


def within_binomial(hits: int, trials: int, chance: float) -> bool:
    """Whether so many hits are what chance gives in all but one of 10,000 cases."""
    low, high = scipy.stats.binom.interval(0.9999, trials, chance)
    return bool(low <= hits <= high)


@given(st.lists(st.tuples(FINITE, st.integers(0, 5)), min_size=1, max_size=30))
def test_lesion_means_are_those_of_a_loop(rows: list[tuple[float, int]]) -> None:
    values, lesions = [value for value, _ in rows], [lesion for _, lesion in rows]
    expected = [
        np.mean([value for value, of in rows if of == lesion]) for lesion in sorted(set(lesions))
    ]
    np.testing.assert_allclose(unit_means(values, lesions), expected, atol=1e-9)
    both = unit_means(np.array([values, np.negative(values)]), lesions)
    np.testing.assert_allclose(both, np.array([expected, np.negative(expected)]), atol=1e-9)


def test_lesion_means_refuse_images_without_a_lesion() -> None:
    with pytest.raises(ValueError, match="differ in images"):
        unit_means([1.0, 2.0], ["a"])


def test_t_test_is_that_of_two_samples_and_of_the_book() -> None:
    before, after = np.random.default_rng(0).normal(size=(2, 23))
    result = t_test(after - before)
    reference = scipy.stats.ttest_rel(after, before)
    assert result.p == pytest.approx(reference.pvalue)
    differences = after - before
    error = differences.std(ddof=1) / math.sqrt(23)
    assert result.statistic == pytest.approx(differences.mean() / error)
    reach = scipy.stats.t.ppf(0.975, 22) * error
    assert result.interval == pytest.approx(
        (differences.mean() - reach, differences.mean() + reach)
    )


def test_wilcoxon_is_that_of_two_samples_and_has_no_side() -> None:
    before, after = np.random.default_rng(1).normal(size=(2, 23))
    assert wilcoxon(after - before).p == pytest.approx(scipy.stats.wilcoxon(after, before).pvalue)
    assert wilcoxon(after - before).p == wilcoxon(before - after).p


@pytest.mark.parametrize("test", [t_test, wilcoxon])
def test_without_any_difference_p_is_one(test: object) -> None:
    assert test(np.zeros(5)).p == 1.0  # type: ignore[operator]


def test_what_has_no_spread_or_one_unit_is_not_tested() -> None:
    assert t_test([0.5]).p is None and "1 of the 2 units" in t_test([0.5]).note
    assert t_test([0.1, 0.1, 0.1]).p is None and "same everywhere" in t_test([0.1] * 3).note
    assert wilcoxon([0.5]).p is None
    assert effect_size([0.1, 0.1]).d_z is None
    assert crossed_test(np.ones((1, 9))).note == "not tested: 1 of the 2 seeds that it needs"
    assert crossed_test(np.ones((3, 1))).p is None
    assert crossed_test(np.ones((3, 4))).p is None
    assert crossed_test(np.zeros((3, 4))).p == 1.0


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 1), (9, 9), (12, 2)])
def test_mcnemar_of_few_is_a_coin_thrown(gained: int, lost: int) -> None:
    before = np.array([False] * gained + [True] * lost + [True, False])
    after = np.array([True] * gained + [False] * lost + [True, False])
    result = mcnemar(before, after)
    tail = sum(math.comb(gained + lost, k) for k in range(min(gained, lost) + 1))
    assert (result.gained, result.lost, result.exact) == (gained, lost, True)
    assert result.p == pytest.approx(min(1.0, 2 * tail / 2 ** (gained + lost)))


def test_mcnemar_of_many_is_chi_square_with_correction() -> None:
    before = np.repeat([False, True], [40, 20])
    result = mcnemar(before, ~before)
    assert not result.exact
    assert result.p == pytest.approx(scipy.stats.chi2.sf((abs(40 - 20) - 1) ** 2 / 60, 1))
    with pytest.raises(ValueError, match="differ in shape"):
        mcnemar([True], [True, False])


def test_crossed_test_is_the_analysis_of_variance_in_loops() -> None:
    differences = np.random.default_rng(2).normal(0.3, 1, (3, 7))
    seeds, lesions = differences.shape
    mean = sum(map(sum, differences)) / 21
    rows = [sum(row) / lesions for row in differences]
    columns = [sum(differences[:, c]) / seeds for c in range(lesions)]
    of_seeds = lesions * sum((r - mean) ** 2 for r in rows) / (seeds - 1)
    of_units = seeds * sum((c - mean) ** 2 for c in columns) / (lesions - 1)
    of_rest = sum(
        (differences[s, c] - rows[s] - columns[c] + mean) ** 2
        for s in range(seeds)
        for c in range(lesions)
    ) / ((seeds - 1) * (lesions - 1))
    excess = max(of_units - of_rest, 0)
    variance = (max(of_seeds, of_rest) + excess) / (seeds * lesions)
    result = crossed_test(differences)
    assert result.statistic == pytest.approx(mean / math.sqrt(variance))
    df = seeds - 1 if of_seeds > of_rest else (seeds - 1) * (lesions - 1)
    parts = max(of_seeds, of_rest) ** 2 / df + excess**2 / (lesions - 1)
    df = (max(of_seeds, of_rest) + excess) ** 2 / parts
    assert result.df == pytest.approx(min(df, lesions - 1))


@given(st.integers(2, 6), st.integers(3, 40), st.integers(0, 10**6))
def test_seeds_that_agree_by_luck_are_no_evidence(seeds: int, lesions: int, number: int) -> None:
    rng = np.random.default_rng(number)
    differences = rng.normal(0, 1, (seeds, lesions)) + rng.normal(0, 0.3, lesions)
    # All seeds have one mean, as chance may have it.
    differences += 0.2 - differences.mean(1, keepdims=True)
    crossed, over_units = crossed_test(differences), t_test(differences.mean(0))
    assert crossed.p is not None and over_units.p is not None
    assert crossed.p >= over_units.p * (1 - 1e-9)


@pytest.mark.parametrize(
    ("seeds", "allowed"), [(2, 0.05), (3, 0.09), (4, 0.075), (5, 0.065), (8, 0.06)]
)
@pytest.mark.parametrize(
    ("of_seeds", "of_units", "of_rest"),
    [(0, 0, 1), (0, 0.3, 1), (0.1, 0.3, 1), (0.3, 1, 1), (0.5, 0.1, 0.5)],
)
def test_chance_is_seldom_an_effect_however_few_the_seeds(
    seeds: int, allowed: float, of_seeds: float, of_units: float, of_rest: float
) -> None:
    rng, trials, lesions = np.random.default_rng(seeds), 1000, 200
    called = 0
    for _ in range(trials):
        differences = (
            rng.normal(0, of_seeds, (seeds, 1))
            + rng.normal(0, of_units, lesions)
            + rng.normal(0, of_rest, (seeds, lesions))
        )
        called += crossed_test(differences).p < 0.05  # type: ignore[operator]
    assert called <= allowed * trials + 3 * math.sqrt(allowed * trials)


def simulated(
    rng: np.random.Generator, *, seeds: int, lesions: int, images: int, effect: float
) -> np.ndarray:
    """Differences (S, L, I) in which seeds, lesions and images vary each on its own."""
    return (
        effect
        + rng.normal(0, 0.5, (seeds, 1, 1))
        + rng.normal(0, 1, (1, lesions, 1))
        + rng.normal(0, 1, (seeds, lesions, images))
    )


def test_chance_alone_is_called_an_effect_as_often_as_it_should() -> None:
    rng, trials = np.random.default_rng(3), 1500
    crossed = lesion = image = 0
    for _ in range(trials):
        differences = simulated(rng, seeds=4, lesions=30, images=3, effect=0)
        by_unit = differences.mean(2)
        crossed += crossed_test(by_unit).p < 0.05  # type: ignore[operator]
        clustered = rng.normal(0, 1, (30, 1)) + rng.normal(0, 0.5, (30, 3))
        lesion += t_test(clustered.mean(1)).p < 0.05  # type: ignore[operator]
        image += t_test(clustered.ravel()).p < 0.05  # type: ignore[operator]
    assert within_binomial(lesion, trials, 0.05)
    # Satterthwaite's degrees of freedom are an approximation: at most a little too often.
    assert crossed <= 0.065 * trials
    # A test over images that takes those of one lesion for independent: why lesions are the unit.
    assert image > 0.15 * trials


def test_an_effect_is_found_as_often_as_computed_and_lies_in_the_interval() -> None:
    rng, trials, n, effect = np.random.default_rng(4), 1500, 25, 0.6
    found = covered = 0
    for _ in range(trials):
        result = t_test(rng.normal(effect, 1, n))
        assert result.p is not None and result.interval is not None
        found += result.p < 0.05
        covered += result.interval[0] <= effect <= result.interval[1]
    critical = scipy.stats.t.ppf(0.975, n - 1)
    shift = effect * math.sqrt(n)
    power = scipy.stats.nct.sf(critical, n - 1, shift) + scipy.stats.nct.cdf(
        -critical, n - 1, shift
    )
    assert within_binomial(found, trials, power)
    assert within_binomial(covered, trials, 0.95)


def test_effect_size_is_mean_over_deviation_and_its_interval_covers() -> None:
    differences = np.array([1.0, 2.0, 4.0])
    assert effect_size(differences).d_z == pytest.approx(7 / 3 / math.sqrt(7 / 3))
    rng, trials, covered = np.random.default_rng(5), 600, 0
    for _ in range(trials):
        low, high = effect_size(rng.normal(0.5, 1, 20)).interval or (0, 0)
        covered += low <= 0.5 <= high
    assert within_binomial(covered, trials, 0.95)


def test_units_of_the_same_classes_are_one_stratum() -> None:
    units = ["b", "a", "a", "c", "d", "d"]
    labels = ["x", "x", "y", "x", "y", "x"]
    a, b, c, d = unit_strata(labels, units)
    assert a == d and b == c and a != b
