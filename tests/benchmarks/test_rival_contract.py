"""The contract of rivals: its distance against other code, its conditions, the cost it reads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch import nn
from torch_fidelity.metric_kid import mmd2

from benchmarks import rival_contract
from benchmarks.rival_contract import (
    Grams,
    chosen,
    contract,
    distance,
    followed_masks,
    gaussian_images,
    kernel,
    named_classes,
    nearer,
    own_and_others,
    page,
    training_seconds,
    verdict,
)
from didgen.downstream.quality.assess import QualityJob, prepare_quality
from didgen.downstream.quality.judge import Judge
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_json
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.assessments import fast_recipe, smooth_data
from tests.fixtures.pictures import encoded
from tests.fixtures.runs import write_run
from tests.fixtures.samples import bare_image

__all__ = ["smooth_data"]


def features(count: int, shift: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 6)) + shift


def test_the_distance_is_kid_of_all_images_at_once() -> None:
    run, real = features(30, 0.4, 0), features(20, 0, 1)
    found = distance(Grams.of(run, real), kernel(real, real), np.ones(30), np.ones(20))
    # By hand, without diagonals; torch-fidelity takes samples of one size.
    k_xx, k_yy, k_xy = ((a @ b.T / 6 + 1) ** 3 for a, b in ((run, run), (real, real), (run, real)))
    among = [
        np.mean([k[i, j] for i in range(len(k)) for j in range(len(k)) if i != j])
        for k in (k_xx, k_yy)
    ]
    assert found == pytest.approx(sum(among) - 2 * k_xy.mean())
    same = distance(Grams.of(run[:20], real), kernel(real, real), np.ones(20), np.ones(20))
    theirs = mmd2(kernel(run[:20], run[:20]), kernel(run[:20], real), kernel(real, real))
    assert same == pytest.approx(float(theirs))


def test_an_image_drawn_twice_counts_twice_and_not_with_itself() -> None:
    run, real = features(5, 0.4, 0), features(4, 0, 1)
    times = np.array([2.0, 1, 0, 1, 1])
    drawn = np.repeat(np.arange(5), times.astype(int))
    found = distance(Grams.of(run, real), kernel(real, real), times, np.ones(4))
    gram = kernel(run, run)
    pairs = [gram[i, j] for i in drawn for j in drawn if i != j]
    # Both copies of the first image make pairs with the others, none with each other.
    among = sum(pairs) / (len(drawn) ** 2 - (times**2).sum())
    wanted = among - 2 * kernel(run, real)[drawn].mean()
    real_gram = kernel(real, real)
    wanted += real_gram[~np.eye(4, dtype=bool)].mean()
    assert found == pytest.approx(wanted)


def test_what_is_nearer_is_told_from_what_is_as_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival_contract, "RESAMPLES", 200)
    real = features(60, 0, 0)
    units = [f"lesion-{n // 2}" for n in range(60)]
    near, far, other = (
        Grams.of(features(60, s, seed), real) for s, seed in ((0, 1), (1, 2), (0, 3))
    )
    among = kernel(real, real)
    less, (low, high) = nearer(near, far, among, units)
    assert low <= less <= high < 0
    _, (low, high) = nearer(far, near, among, units)
    assert low > 0
    _, (low, high) = nearer(near, other, among, units)
    assert low < 0 < high
    assert nearer(near, far, among, units) == nearer(near, far, among, units)


def test_gaussian_images_have_the_mean_and_the_spread_of_their_class() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((40, 2))
    shapes = 30 * rng.standard_normal((2, 3 * 8 * 8)) / 8
    pixels = np.rint(128 + weights @ shapes).clip(0, 255).astype(np.uint8).reshape(40, 3, 8, 8)
    drawn = gaussian_images(pixels, 4000, 1)
    assert drawn.shape == (4000, 3, 8, 8) and drawn.dtype == np.uint8
    flat, many = (part.reshape(len(part), -1).astype(float) for part in (pixels, drawn))
    assert np.abs(flat.mean(0) - many.mean(0)).max() < 1.5
    assert np.abs(np.cov(flat.T) - np.cov(many.T)).max() < 0.1 * np.cov(flat.T).max() + 1
    np.testing.assert_array_equal(gaussian_images(pixels[:1], 3, 0), np.repeat(pixels[:1], 3, 0))


def test_each_class_has_as_many_images_on_all_sides() -> None:
    labels = [["a"] * 5 + ["b"] * 2, ["a"] * 3 + ["b"] * 9, ["b", "a", "c"] * 4]
    places, counts = chosen(labels, 0)
    assert counts == {"a": 3, "b": 2}
    for part, taken in zip(labels, places, strict=True):
        assert sorted(part[place] for place in taken) == ["a"] * 3 + ["b"] * 2
        assert len(set(taken.tolist())) == 5


def test_masks_are_held_against_their_own_and_each_against_one_other() -> None:
    masks = np.zeros((5, 8, 8), bool)
    for number in range(5):
        masks[number, number] = True
    own, others = own_and_others(masks, masks, 3)
    assert own.tolist() == [1] * 5 and others.tolist() == [0] * 5


@pytest.mark.parametrize(
    ("held", "wanted"),
    [([True, True], True), ([True, None], None), ([False, None], False), ([True, False], False)],
)
def test_one_condition_that_fails_is_enough(held: list[bool | None], wanted: bool | None) -> None:
    assert verdict(held) is wanted


def test_seconds_of_training_leave_out_the_pauses(tmp_path: Path) -> None:
    assert training_seconds(tmp_path) is None
    for name, times in (("one", (100.0, 110, 130)), ("two", (5000.0, 5007))):
        writer = EventFileWriter(str(tmp_path / name))
        for step, at in enumerate(times):
            summary = Summary(value=[Summary.Value(tag="unet/loss", simple_value=1)])
            writer.add_event(Event(wall_time=at, step=step, summary=summary))
        writer.close()
    assert training_seconds(tmp_path) == pytest.approx(37)


@pytest.fixture(scope="module")
def job(smooth_data: tuple[Path, Path]) -> QualityJob:
    return prepare_quality(fast_recipe(*smooth_data))


@pytest.fixture(scope="module")
def twin(smooth_data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> QualityJob:
    """A run of noise."""
    rng, samples = np.random.default_rng(0), []
    classes = SourceManifest.read(smooth_data[0]).header.classes
    for number in range(24):
        pixels = rng.integers(0, 256, (48, 48, 3), np.uint8)
        label = classes[number % 2]
        members = {"jpg": encoded(pixels, "JPEG"), "cls": str(number % 2).encode()}
        made = bare_image(f"noise-{number:02d}", **members)
        samples.append(replace(made, row={"label": label}))
    folder = tmp_path_factory.mktemp("twin") / "noise"
    write_run(folder, {"images": [samples]}, classes=list(classes))
    return prepare_quality(fast_recipe(smooth_data[0], folder))


def test_a_run_of_blobs_beats_one_of_noise(
    job: QualityJob, twin: QualityJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rival_contract, "RESAMPLES", 100)
    write_json(tmp_path / "cost.json", {"peak_memory": 3 * 2**30})
    record = contract(job, twin, tmp_path)
    assert record["config"] == "images" and record["distance"]["images"] >= 20
    assert record["conditions"]["untrained"] is True
    assert record["distance"]["untrained"]["kid"] > record["distance"]["kid"]
    # Two classes and no judge of them, pairs and no net: both are open.
    assert record["conditions"]["classes"] is None and record["conditions"]["masks"] is None
    assert record["learned"] in (None, False)
    assert record["cost"]["seconds_a_sample"] >= 0
    assert record["cost"]["training_peak_memory"] == 3 * 2**30
    told = page(record)
    assert "not judged" in told and "| 3 |" in told
    (head, rule, row, _, *costs) = told.splitlines()
    assert head.count("|") == rule.count("|") == row.count("|") and len(costs) == 3
    turned = contract(twin, job)
    assert turned["conditions"]["untrained"] is False and turned["learned"] is False


def test_too_few_images_are_told(job: QualityJob, twin: QualityJob) -> None:
    empty: dict[Config, Any] = {"images": twin.synthetic["images"].take([0, 1])}
    with pytest.raises(DidgenError, match="at least 20"):
        contract(job, replace(twin, synthetic=empty))


class Bright(nn.Module):
    """A net that takes what is bright for the lesion."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(0.0))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().mean(1, keepdim=True) - 128


def test_a_net_whose_masks_fit_others_as_well_is_not_above(job: QualityJob) -> None:
    """All pairs of this run have one mask, so that shuffling them changes nothing."""
    judged = replace(job, judges=(Judge(Path("net"), "bright", Bright(), 48, (), "0"),))
    (row,) = followed_masks(judged)
    assert row["iou"] == pytest.approx(row["shuffled"]) and row["above"] is False


@pytest.mark.parametrize(("low", "above"), [(0.51, True), (0.49, False)])
def test_a_class_is_named_where_the_interval_lies_above_chance(
    job: QualityJob, monkeypatch: pytest.MonkeyPatch, low: float, above: bool
) -> None:
    row = {"value": 0.6, "interval": (low, 0.7)}
    monkeypatch.setattr(rival_contract, "class_fidelity", lambda *_: iter([row]))
    classes = tuple(job.source.header.classes)
    judge = Judge(Path("net"), "classifier", Bright(), 48, classes, "0")
    rows = named_classes(replace(job, judges=(judge, judge)), "images")
    assert [one["above"] for one in rows] == [above, above]
    assert rows[0]["chance"] == 0.5 and rows[0]["balanced_accuracy"] == 0.6
