"""Tests of the record of copies: nearest training images, rates and planted copies."""

from pathlib import Path

import numpy as np
import pytest

from didgen.downstream.quality.copies import Calibration, TrainingIndex
from didgen.downstream.quality.copy_record import copy_rows, copy_summary, with_start_similarity
from didgen.manifests.files import read_json, read_json_lines
from didgen.manifests.perceptual_hash import NEAR
from didgen.manifests.runs.training_samples import SyntheticSample
from tests.fixtures.photographs import COPIED, original


def test_mirrored_training_images_are_found_and_named(assessed: tuple[Path, Path]) -> None:
    rows = read_json_lines(assessed[0] / "copies.jsonl")
    assert len(rows) == 96
    planted = [row for row in rows if int(row["key"][-6:]) % COPIED == 0]
    for row in planted:
        wanted = f"ISIC_{original(int(row['key'][-6:])):07d}"
        assert row["nearest"] == wanted
        assert row["similarity"] > 0.99
    strangers = [row for row in rows if row not in planted]
    found = np.mean([row["copy"] for row in planted])
    assert found > 0.9 and found - np.mean([row["copy"] for row in strangers]) > 0.8


def test_the_rates_are_those_of_the_rows(assessed: tuple[Path, Path]) -> None:
    copies = read_json(assessed[0] / "quality.json")["copies"]
    rows = read_json_lines(assessed[0] / "copies.jsonl")
    for row in rows:
        above = row["similarity"] > copies["threshold"]
        assert row["copy"] == (above or row["hash_distance"] <= NEAR)
    assert copies["count"] == sum(row["copy"] for row in rows)
    assert copies["n"] == sum(told["n"] for told in copies["origins"].values()) == 96
    assert {name: told["n"] for name, told in copies["origins"].items()} == {
        "images": 48,
        "training layout": 24,
        "drawn layout": 24,
    }
    own = copies["origins"]["training layout"]["nearest_is_layout"]
    assert own["count"] == sum(bool(r["layout"]) and r["nearest"] == r["layout"] for r in rows)
    # Half of the layouts' images are copied in their pairs.
    assert own["count"] >= 12
    # The threshold lets at most one in a thousand of them pass, and the hash those that it knows.
    assert copies["held_out"]["count"] == len(copies["held_out_duplicates"])
    assert copies["calibrated_on"] + len(copies["held_out_duplicates"]) == 48


def test_a_variation_is_told_from_a_copy_of_another_image() -> None:
    """Four training images along the axes, and variations of the first that lie towards them."""
    training = ["a", "b", "c", "d"]
    axes = np.concatenate([np.eye(4), np.zeros((4, 2))], 1).astype(np.float32)
    index = TrainingIndex(axes, np.zeros((4, 256), bool), training)
    features = axes[[0, 1, 0]] + np.array([[0] * 6, [0] * 6, [0, 0, 0, 0, 2, 0]], np.float32)
    hashes = np.ones((3, 1, 256), bool)
    nearest = index.nearest(features[:, None], hashes)
    samples = [SyntheticSample(f"s{n}", "MEL", "x.tar", "", "", start="a") for n in range(2)]
    samples.append(SyntheticSample("s2", "MEL", "x.tar", "", ""))
    rows = copy_rows("images", samples, nearest, training, 0.9)
    rows = with_start_similarity(rows, features, index, training)
    assert [row["copy"] for row in rows] == [True, True, False]
    assert [row.get("copy_of_start") for row in rows] == [True, False, None]
    centred = axes - axes.mean(0)
    cosine = centred[0] @ centred[1] / np.linalg.norm(centred[0]) / np.linalg.norm(centred[1])
    similar = [row.get("start_similarity") for row in rows]
    assert similar == [pytest.approx(1), pytest.approx(cosine, abs=1e-6), None]
    copies = copy_summary(rows, Calibration(0.9, 4, np.array([], int)), nearest, [], training)
    assert copies["origins"]["variations"]["count"] == 2
    assert copies["origins"]["variations"]["of_start"]["count"] == 1
    assert copies["origins"]["images"]["n"] == 1


def test_the_recall_of_planted_copies_is_told(assessed: tuple[Path, Path]) -> None:
    planted = read_json(assessed[0] / "quality.json")["copies"]["planted"]
    for kind in ("mirrored", "quarter turn"):
        assert planted[kind]["recall"] == 1 and planted[kind]["right_image"]["rate"] == 1
    assert {told["n"] for told in planted.values()} == {12}
    assert all("interval" in told for told in planted.values())
