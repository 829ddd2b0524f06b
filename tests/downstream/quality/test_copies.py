"""Tests of the copy check: naive loops, a known quantile, and changed images to be found."""

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from didgen.downstream.networks.open_weights import LITE0, write_weights
from didgen.downstream.quality.copies import (
    PLANTED,
    Nearest,
    TrainingIndex,
    are_copies,
    calibrate,
    contact_sheet,
    duplicates_within,
    planted,
    rate,
)
from didgen.downstream.quality.embed import embed, real_collection, views_of
from didgen.downstream.quality.extractors import find_extractor
from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.isic2018 import import_isic2018
from didgen.manifests.perceptual_hash import NEAR
from tests.fixtures.pictures import smooth

RNG = np.random.default_rng(0)


def found(similarities: np.ndarray, bits: np.ndarray | None = None) -> Nearest:
    places = np.zeros(len(similarities), np.int64)
    return Nearest(places, similarities, places, places + 99 if bits is None else bits)


def test_the_nearest_is_that_of_the_loop_in_the_best_orientation() -> None:
    features, hashes = RNG.normal(size=(9, 5)), RNG.random((9, 256)) < 0.5
    index = TrainingIndex(features, hashes, [f"lesion {i}" for i in range(9)])
    queries, bits = RNG.normal(size=(4, 8, 5)), RNG.random((4, 8, 256)) < 0.5
    nearest = index.nearest(queries, bits)
    centre = features.mean(0)
    for row in range(4):
        cosines = [
            max(
                (view - centre)
                @ (other - centre)
                / np.linalg.norm(view - centre)
                / np.linalg.norm(other - centre)
                for view in queries[row]
            )
            for other in features
        ]
        assert nearest.places[row] == np.argmax(cosines)
        assert nearest.similarities[row] == pytest.approx(max(cosines), abs=1e-5)
        apart = [min((view != other).sum() for view in bits[row]) for other in hashes]
        assert nearest.hash_places[row] == np.argmin(apart)
        assert nearest.bits[row] == min(apart)


def test_a_training_image_of_the_same_lesion_is_not_looked_at() -> None:
    features, hashes = RNG.normal(size=(4, 5)), RNG.random((4, 256)) < 0.5
    index = TrainingIndex(features, hashes, ["a", "b", "b", "c"])
    queries, bits = features[[1]][:, None], hashes[[1]][:, None]
    alone = index.nearest(queries, bits)
    assert (alone.places[0], alone.bits[0]) == (1, 0)
    assert alone.similarities[0] == pytest.approx(1)
    others = index.nearest(queries, bits, ["b"])
    assert others.places[0] in (0, 3) and others.hash_places[0] in (0, 3)
    assert others.similarities[0] < 0.99 and others.bits[0] > NEAR


def test_features_without_spread_are_no_copies_of_each_other() -> None:
    index = TrainingIndex(np.ones((3, 4)), np.zeros((3, 256), bool), ["a", "b", "c"])
    nearest = index.nearest(np.ones((1, 1, 4)), np.ones((1, 1, 256), bool))
    assert nearest.similarities[0] == 0


def test_the_threshold_is_the_known_quantile() -> None:
    similarities = RNG.permutation(np.arange(4000)) / 4000
    calibration = calibrate(found(similarities))
    assert calibration.n == 4000
    assert (similarities > calibration.threshold).sum() == 4
    assert calibration.threshold == np.sort(similarities)[-5]


def test_of_few_the_threshold_is_the_largest() -> None:
    assert calibrate(found(np.array([0.2, 0.7, 0.5]))).threshold == 0.7


def test_near_duplicates_are_no_measure_of_strangers() -> None:
    bits = np.array([NEAR + 1, NEAR, 3, 200])
    calibration = calibrate(found(np.array([0.3, 0.999, 0.99, 0.4]), bits))
    assert (calibration.threshold, calibration.n) == (0.4, 2)
    assert calibration.duplicates.tolist() == [1, 2]


def test_images_of_unknown_lesions_count_only_where_none_is_known() -> None:
    nearest = found(np.array([0.3, 0.9, 0.5]))
    for known, threshold, n in (
        ([True, False, True], 0.5, 2),
        ([False] * 3, 0.9, 3),
        (None, 0.9, 3),
    ):
        calibration = calibrate(nearest, known)
        assert (calibration.threshold, calibration.n) == (threshold, n)


def test_only_near_duplicates_are_refused() -> None:
    with pytest.raises(DidgenError, match="All 2 held-out images are nearly training images"):
        calibrate(found(np.array([0.3, 0.9]), np.array([0, NEAR])))


def test_a_copy_is_above_the_threshold_or_near_by_hash() -> None:
    nearest = found(np.array([0.5, 0.6, 0.1, 0.1]), np.array([99, 99, NEAR, NEAR + 1]))
    assert are_copies(nearest, 0.5).tolist() == [False, True, True, False]


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_rate_has_wilsons_interval(flags: list[bool]) -> None:
    told = rate(flags)
    oracle = scipy.stats.binomtest(sum(flags), len(flags)).proportion_ci(method="wilson")
    assert told["rate"] == sum(flags) / len(flags)
    assert told["interval"] == pytest.approx((oracle.low, oracle.high), abs=1e-9)


def test_a_rate_of_nothing_is_none() -> None:
    assert rate([]) == {"n": 0, "count": 0, "rate": None, "interval": None}


@given(st.integers(0, 5), st.integers(0, 5))
def test_duplicates_are_found_on_both_sides(one: int, other: int) -> None:
    hashes = np.random.default_rng(3).random((6, 256)) < 0.5
    hashes[one] = hashes[other]
    wanted = {one, other} if one != other else set()
    assert set(np.flatnonzero(duplicates_within(hashes))) == wanted


def test_planted_copies_are_what_their_name_says() -> None:
    pixels = smooth(1, 40).transpose(2, 0, 1)
    made = {kind: planted(pixels, kind) for kind in PLANTED}
    assert all(copy.shape == pixels.shape and copy.dtype == np.uint8 for copy in made.values())
    assert np.array_equal(made["mirrored"], pixels[..., ::-1])
    assert np.array_equal(made["quarter turn"], np.rot90(pixels, 1, (1, 2)))
    apart = {k: np.abs(c.astype(int) - pixels).mean() for k, c in made.items()}
    assert 0 < apart["JPEG at quality 50"] < apart["colours shifted"] < 30
    assert 0 < apart["cropped to 90 %"] < apart["mirrored"]


def test_the_sheet_shows_every_pair_whatever_its_title() -> None:
    images = [smooth(number, 40).transpose(2, 0, 1) for number in range(10)]
    pairs = [(images[n], images[n + 5], "$\\frac$\n<b>\nkey") for n in range(5)]
    with Image.open(io.BytesIO(contact_sheet(pairs, columns=2))) as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet).transpose(2, 0, 1)
    # Somewhere on the sheet each image stands whole.
    corners = {image[:, 0, 0].tobytes(): image for image in images}
    found = set()
    for y in range(pixels.shape[1] - 39):
        for x in range(pixels.shape[2] - 39):
            image = corners.get(np.ascontiguousarray(pixels[:, y, x]).tobytes())
            if image is not None and np.array_equal(pixels[:, y : y + 40, x : x + 40], image):
                found.add(image.tobytes())
    assert len(found) == 10
    assert contact_sheet([]).startswith(b"\x89PNG")


@pytest.mark.data
@pytest.mark.slow
def test_changed_photographs_are_found_and_strangers_are_not(
    data_dir: Path, tmp_path: Path
) -> None:
    """Real images with the features of EfficientNet-Lite0, as `didgen quality` looks at them."""
    weights = tmp_path / "lite0.safetensors"
    write_weights("lite0", weights)
    extractor = find_extractor(f"timm:{LITE0}", str(weights))
    manifest = import_isic2018(data_dir / "isic2018").manifest
    # Those with a label have a lesion id that is the data set's own.
    counts: tuple[tuple[Split, int], ...] = (("train", 600), ("test", 200), ("val", 200))
    parts = [
        real_collection(manifest, manifest.select(split=split, labelled=True)[:count])
        for split, count in counts
    ]
    train = embed(parts[0], extractor, 128)
    index = TrainingIndex(train.features, train.hashes, parts[0].units)
    test, val = (embed(part, extractor, 128, index).nearest for part in parts[1:])
    assert test is not None and val is not None
    threshold = calibrate(test).threshold
    assert rate(are_copies(val, threshold))["count"] <= 2
    places = np.arange(0, 600, 20)
    pixels = parts[0].pictures(places, 128).numpy()
    for kind in ("mirrored", "quarter turn", "JPEG at quality 50", "colours shifted"):
        copies = torch.from_numpy(np.stack([planted(image, kind) for image in pixels]))
        nearest = index.nearest(*views_of(copies, extractor, turned=True))
        assert rate(are_copies(nearest, threshold))["rate"] >= 0.95, kind
        right = (nearest.places == places) | (nearest.hash_places == places)
        assert right.mean() >= 0.95, kind
