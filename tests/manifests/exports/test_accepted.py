"""Tests of exports of what reviewers accept, with their classes and outlines."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import only_accepted, prepare_export
from didgen.manifests.reviews.redrawn import mask_of
from tests.fixtures.commands import Command
from tests.fixtures.pictures import decoded
from tests.fixtures.reviews import BOX, write_reviews


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A run of which two images and one pair are accepted, one of each corrected."""
    own = Path(shutil.copytree(run, tmp_path / "run"))
    write_reviews(
        own,
        ("images", "images-000000", {}),
        ("images", "images-000003", {"label": "NV"}),
        ("images", "images-000004", {"verdict": "rejected", "reason": "artefact"}),
        ("pairs", "pairs-000005", {"curves": BOX}),
    )
    return own


def test_an_image_folder_has_what_is_accepted_and_no_more(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = only_accepted(prepare_export(own, "imagefolder", out))
    assert job.counts() == {("images", "train"): 2, ("pairs", "train"): 1}
    export(job)
    there = {path.relative_to(out / "images").as_posix() for path in out.glob("images/*/*/*.jpg")}
    assert there == {"train/MEL/images-000000.jpg", "train/NV/images-000003.jpg"}
    (mask,) = out.glob("pairs/train/masks/*.png")
    assert mask.stem == "pairs-000005"
    np.testing.assert_array_equal(decoded(mask.read_bytes()) > 0, mask_of(BOX, 16, 24))
    (row,) = (out / "pairs" / "train" / "metadata.jsonl").read_text().splitlines()
    assert json.loads(row)["key"] == "pairs-000005"
    card = (out / "README.md").read_text()
    assert "Reviewers looked at" in card and "no clinician" not in card
    assert "3 of 4 reviewed samples are accepted" in card
    assert "| NV | 1 | 0 |" in card and "nobody corrected" not in card


def test_parquet_has_the_corrected_class(own: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    out = tmp_path / "out"
    export(only_accepted(prepare_export(own, "parquet", out)))
    rows = [
        row
        for path in sorted((out / "images").glob("*.parquet"))
        for row in parquet.read_table(path).to_pylist()
    ]
    assert [(row["key"], row["label"]) for row in rows] == [
        ("images-000000", 0),
        ("images-000003", 1),
    ]


def test_the_command_says_what_is_taken(own: Path, tmp_path: Path, command: Command) -> None:
    asked = ["export", own, "--to", "nnunet", "--out", tmp_path / "Dataset001_A"]
    outcome = command(*asked, "--reviewed", "accepted")
    assert outcome.code == 0
    assert "reviews: 1 of 1 reviewed samples are accepted" in outcome.out
    assert [path.name for path in (tmp_path / "Dataset001_A" / "labelsTr").iterdir()] == [
        "pairs-000005.png"
    ]


def test_where_nothing_is_accepted_nothing_is_written(run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    rejected = {"verdict": "rejected", "reason": "other"}
    write_reviews(own, ("images", "images-000000", rejected))
    with pytest.raises(DidgenError, match=r"no sample to export: 0 of 1 reviewed samples"):
        only_accepted(prepare_export(own, "parquet", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
