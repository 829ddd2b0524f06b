"""Tests of figures of quality: known distances, the libraries' own answers, naive loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure
from torchmetrics.image.fid import FrechetInceptionDistance

from didgen.downstream.metrics.generative import (
    LEAST,
    Figure,
    feature_figures,
    fid,
    frechet_distance,
    kid,
    matched,
    ms_ssim,
    neighbourhoods,
    pair_figure,
    spread,
    within,
)
from didgen.downstream.stats.paired import Interval

RNG = np.random.default_rng(0)
SPREADS = np.array([1.0, 0.5, 2.0, 0.1, 0.3, 1.5])
OTHERS = np.array([0.7, 0.6, 1.0, 0.4, 0.3, 1.0])
SHIFT = np.array([0.5, 0.0, -0.3, 0.0, 0.0, 0.1])
KNOWN = float((SHIFT**2).sum() + ((SPREADS - OTHERS) ** 2).sum())
"""The distance of two Gaussians with diagonal covariances."""


def gaussians(count: int, rng: np.random.Generator = RNG) -> tuple[np.ndarray, np.ndarray]:
    return (
        rng.normal(size=(count, 6)) * SPREADS,
        rng.normal(size=(count, 6)) * OTHERS + SHIFT,
    )


def value_of(figure: Figure) -> float:
    assert figure.value is not None
    return figure.value


def interval_of(figure: Figure) -> Interval:
    assert figure.interval is not None
    return figure.interval


def test_a_sample_is_at_no_distance_from_itself() -> None:
    one, _ = gaussians(200)
    figures = feature_figures(one, one, np.arange(200))
    assert figures["fid"].value == pytest.approx(0, abs=1e-5)
    # Unbiased over different halves of one sample: about 0, and below it as often as not.
    deviation = figures["kid"].deviation
    assert deviation is not None and abs(value_of(figures["kid"])) < 2 * deviation
    for name in ("precision", "recall", "coverage"):
        assert figures[name].value == 1


def test_gaussians_are_at_their_known_distance() -> None:
    assert frechet_distance(*gaussians(200_000)) == pytest.approx(KNOWN, rel=0.02)


def test_the_bias_is_removed_and_the_interval_covers() -> None:
    rng = np.random.default_rng(1)
    raw, corrected, covered = [], [], 0
    for _ in range(40):
        found = fid(*gaussians(40, rng))
        raw.append(value_of(found["fid"]))
        corrected.append(value_of(found["fid_inf"]))
        low, high = interval_of(found["fid_inf"])
        covered += low <= KNOWN <= high
    error = np.std(corrected, ddof=1) / np.sqrt(40)
    assert np.mean(raw) - KNOWN > 5 * error
    assert abs(np.mean(corrected) - KNOWN) < 3 * error
    assert covered >= 34


def test_fid_is_that_of_torchmetrics() -> None:
    """Its class on features instead of images, in float64."""
    one, other = gaussians(50)

    class Identity(torch.nn.Module):
        num_features = 6

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    metric = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    metric.update(torch.from_numpy(other), real=True)
    metric.update(torch.from_numpy(one), real=False)
    assert frechet_distance(one, other) == pytest.approx(metric.compute().item(), rel=1e-9)


def test_float32_features_lose_nothing_of_a_small_covariance() -> None:
    one, other = (part * 1e-3 + 10 for part in gaussians(500))
    single = frechet_distance(one.astype(np.float32), other.astype(np.float32))
    assert single == pytest.approx(frechet_distance(one, other), rel=1e-2)


def test_kid_is_that_of_torch_fidelity() -> None:
    one, other = gaussians(80)
    found = kid(one, other, seed=3)
    oracle = kid_features_to_metric(
        torch.from_numpy(one),
        torch.from_numpy(other),
        kid_subsets=100,
        kid_subset_size=40,
        rng_seed=3,
        verbose=False,
    )
    assert found.value == oracle["kernel_inception_distance_mean"]
    assert found.deviation == oracle["kernel_inception_distance_std"]


def test_kid_of_whole_samples_is_the_unbiased_mmd() -> None:
    """The formula of Gretton et al. (2012) with the cubic kernel, over all images at once."""
    one, other = gaussians(40)

    def kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return (left @ right.T / left.shape[1] + 1) ** 3

    within_one, within_other = (
        (kernel(part, part).sum() - np.trace(kernel(part, part))) / (40 * 39)
        for part in (one, other)
    )
    oracle = within_one + within_other - 2 * kernel(one, other).mean()
    found = [value_of(kid(one, other, seed)) for seed in range(20)]
    # Subsets of half of the images spread about it.
    assert np.mean(found) == pytest.approx(oracle, abs=float(4 * np.std(found) / 20**0.5 + 1e-3))


def test_precision_and_recall_are_those_of_torch_fidelity() -> None:
    one, other = gaussians(1100)
    found = neighbourhoods(one[:1050], other)
    oracle = prc_features_to_metric(
        torch.from_numpy(one[:1050]), torch.from_numpy(other), verbose=False
    )
    assert found["precision"].mean() == pytest.approx(oracle["precision"])
    assert found["recall"].mean() == pytest.approx(oracle["recall"])


def test_neighbourhoods_are_those_of_the_loop() -> None:
    made, real = gaussians(30)
    made = made[:25]

    def radius(points: np.ndarray, place: int, k: int) -> float:
        return sorted(np.linalg.norm(points - points[place], axis=1))[k]

    found = neighbourhoods(made, real)
    for i, one in enumerate(made):
        apart = [np.linalg.norm(one - other) for other in real]
        assert found["precision"][i] == any(apart[j] <= radius(real, j, 3) for j in range(30))
        inside = sum(apart[j] <= radius(real, j, 5) for j in range(30))
        assert found["density"][i] == pytest.approx(inside / 5)
    for j, other in enumerate(real):
        apart = [np.linalg.norm(one - other) for one in made]
        assert found["recall"][j] == any(apart[i] <= radius(made, i, 3) for i in range(25))
        assert found["coverage"][j] == (min(apart) <= radius(real, j, 5))


def test_a_mode_that_is_missing_shows_in_recall_and_not_in_precision() -> None:
    near, far = RNG.normal(size=(60, 4)), RNG.normal(size=(60, 4)) + 20
    real = np.concatenate([near, far])
    figures = feature_figures(RNG.normal(size=(120, 4)), real, np.arange(120))
    assert value_of(figures["precision"]) > 0.8
    assert value_of(figures["recall"]) < 0.6
    assert value_of(figures["coverage"]) < 0.6


def test_the_interval_of_recall_resamples_lesions() -> None:
    made, real = gaussians(60)
    own = feature_figures(made, real, np.arange(60))["recall"]
    # The images that are missed show one lesion, which is drawn as a whole or not at all.
    lesions = neighbourhoods(made, real)["recall"]
    missed = 1 - value_of(own)
    assert 0 < missed < 0.5
    low, high = interval_of(feature_figures(made, real, lesions)["recall"])
    assert (low, high) == (0, 1)
    assert interval_of(own)[0] > 0.5


def test_few_images_are_refused_in_words() -> None:
    one, other = gaussians(LEAST - 1)
    for figure in feature_figures(one, other, np.arange(LEAST - 1)).values():
        assert figure.value is None and "19 images are fewer than 20" in figure.note


@pytest.mark.parametrize(
    ("count", "least"),
    [(30, {"fid": 31, "fid_inf": 31}), (31, {"fid_inf": 60}), (59, {"fid_inf": 60}), (60, {})],
)
def test_fid_needs_more_images_than_features(count: int, least: dict[str, int]) -> None:
    features = RNG.normal(size=(2, count, 30))
    for name, figure in fid(*features).items():
        assert (figure.value is None) == (name in least)
        if name in least:
            told = f"{count} images are too few for 30 features; it needs {least[name]} on each"
            assert told in figure.note
        elif name == "fid":
            assert figure.value == pytest.approx(frechet_distance(*features))


LABELS = st.lists(st.sampled_from(["MEL", "NV", ""]), max_size=30)


@given(LABELS, LABELS, st.integers(0, 5))
def test_matched_samples_have_the_smaller_count_of_each_class(
    one: list[str], other: list[str], seed: int
) -> None:
    first, second = matched(one, other, seed)
    assert [one[place] for place in first] == [other[place] for place in second]
    assert len(set(first)) == len(first) and len(set(second)) == len(second)
    for label in ("MEL", "NV", ""):
        taken = sum(one[place] == label for place in first)
        assert taken == min(one.count(label), other.count(label))
    again = matched(one, other, seed)
    assert np.array_equal(first, again[0]) and np.array_equal(second, again[1])


@given(LABELS)
def test_pairs_within_are_different_images_of_one_class(labels: list[str]) -> None:
    labels = sorted(labels)
    pairs = list(zip(*within(labels), strict=True))
    assert all(labels[one] == labels[other] and one != other for one, other in pairs)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    for label in set(labels):
        count = labels.count(label)
        there = sum(labels[one] == label for one, _ in pairs)
        assert there == (0 if count == 1 else 1 if count == 2 else count)


@given(LABELS, st.integers(1, 40))
def test_a_spread_sample_has_its_size_and_its_order(labels: list[str], most: int) -> None:
    places = spread(labels, most).tolist()
    assert len(places) == min(most, len(labels))
    assert places == sorted(set(places))


def test_ms_ssim_is_that_of_torchmetrics_pair_by_pair() -> None:
    coarse = torch.rand((5, 3, 12, 12), generator=torch.Generator().manual_seed(0)) * 255
    pixels = torch.nn.functional.interpolate(coarse, (176, 176), mode="bicubic")
    one = pixels.clamp(0, 255).to(torch.uint8)
    other = (pixels * 0.8 + 10).roll(3, -1).clamp(0, 255).to(torch.uint8)
    found = ms_ssim(one, other, batch=2)
    for place in range(5):
        metric = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0)
        oracle = metric(one[place : place + 1] / 255, other[place : place + 1] / 255)
        assert found[place] == pytest.approx(oracle.item(), abs=1e-5)
    assert ms_ssim(one, one) == pytest.approx(np.ones(5))
    assert (found < 0.99).all()


def test_a_figure_of_pairs_has_mean_and_interval_or_says_why_not() -> None:
    figure = pair_figure([0.1, 0.2, 0.6], 3, 3)
    assert figure.value == pytest.approx(0.3)
    low, high = interval_of(figure)
    assert low < 0.3 < high
    assert "no pair" in pair_figure([], 1, 1).note
