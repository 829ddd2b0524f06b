"""Tests of the record of copies: nearest training images, rates and planted copies."""

from pathlib import Path

import numpy as np

from didgen.manifests.files import read_json, read_json_lines
from didgen.manifests.perceptual_hash import NEAR
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


def test_the_recall_of_planted_copies_is_told(assessed: tuple[Path, Path]) -> None:
    planted = read_json(assessed[0] / "quality.json")["copies"]["planted"]
    for kind in ("mirrored", "quarter turn"):
        assert planted[kind]["recall"] == 1 and planted[kind]["right_image"]["rate"] == 1
    assert {told["n"] for told in planted.values()} == {12}
    assert all("interval" in told for told in planted.values())
