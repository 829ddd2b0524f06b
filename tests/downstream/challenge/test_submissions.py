"""Tests of submissions: the challenge's own scorer takes them, and finds what didgen reports."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from isic_challenge_scoring import metrics as official
from isic_challenge_scoring.segmentation import SegmentationScore
from PIL import Image

from didgen.downstream.benchmark.results import FILES_OF, read_predictions
from didgen.downstream.challenge.submissions import TABLE_NAME, write_submissions
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import read_mask
from didgen.manifests.sources.records import CLASSES, SourceManifest
from tests.fixtures.benchmarks import Done, copied
from tests.fixtures.commands import Command

# The scorer is of an older pandas.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def test_the_official_scorer_takes_the_masks(
    segmented: Done, source: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "isic"
    told = command("submission", segmented[0], "--out", out)
    assert told.code == 0
    manifest = SourceManifest.read(source)
    records = {r.key: r for r in manifest.select(split="test", masked=True)}
    (tmp_path / "truth").mkdir()
    for key, record in records.items():
        mask = read_mask(manifest.mask_path(record))
        # As the challenge gives it.
        path = tmp_path / "truth" / f"{key}_segmentation.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    folders = [Path(line) for line in told.out.split()]
    tested = [path.parent for path in sorted(segmented[0].rglob("tested.json"))]
    assert [f.relative_to(out) for f in folders] == [
        t.relative_to(segmented[0] / "runs") for t in tested
    ]
    for folder in folders:
        for path in folder.iterdir():
            image = Image.open(path)
            record = records[path.name.removesuffix("_segmentation.png")]
            assert (image.format, image.mode) == ("PNG", "L")
            assert image.size == (record.width, record.height)
            assert set(np.unique(np.asarray(image))) <= {0, 255}
        score = SegmentationScore.from_dir(tmp_path / "truth", folder).macro_average
        # The definition, written out: IoU of whole images, 0 below 0.65.
        ious = []
        for key in records:
            guess, truth = (
                np.asarray(Image.open(place / f"{key}_segmentation.png")) > 128
                for place in (folder, tmp_path / "truth")
            )
            union = (guess | truth).sum()
            ious.append((guess & truth).sum() / union if union else 1.0)
        assert score["jaccard"] == pytest.approx(np.mean(ious))
        thresholded = [iou if iou >= 0.65 else 0 for iou in ious]
        assert score["threshold_jaccard"] == pytest.approx(np.mean(thresholded))


def test_the_official_scorer_finds_the_balanced_accuracy_that_is_reported(
    classified: Done, tmp_path: Path
) -> None:
    out, benchmark = classified
    classes = benchmark["classes"]
    folders = write_submissions(out, tmp_path / "isic")
    for folder in folders:
        own = out / "runs" / folder.relative_to(tmp_path / "isic")
        found = read_predictions(own, classes, FILES_OF["test"])
        truth = tmp_path / "truth.csv"
        with open(truth, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image", *CLASSES])
            for key, label in zip(found.keys, found.labels, strict=True):
                table.writerow([key, *(float(name == classes[label]) for name in CLASSES)])
        # Its own reader of tables needs an older pandas.
        wanted, guess = (pd.read_csv(p, index_col="image") for p in (truth, folder / TABLE_NAME))
        assert list(guess.columns) == list(CLASSES)
        assert {str(dtype) for dtype in guess.dtypes} == {"float64"} and guess.ge(0).all(axis=None)
        assert guess.le(1).all(axis=None)
        overall = official.balanced_multiclass_accuracy(
            wanted, guess, pd.Series(1.0, index=wanted.index)
        )
        right = found.probabilities.argmax(1) == found.labels
        # The definition, written out: the mean recall over the classes that there are.
        recalls = [right[found.labels == label].mean() for label in np.unique(found.labels)]
        assert overall == pytest.approx(np.mean(recalls))
        tested = json.loads((own / "tested.json").read_text())["figures"]["test"]
        assert overall == pytest.approx(tested["balanced_accuracy"], abs=1e-6)


def test_a_source_that_is_not_there_is_asked_for(segmented: Done, tmp_path: Path) -> None:
    out = copied(segmented, tmp_path)
    told = json.loads((out / "benchmark.json").read_text())
    told["recipe"]["source"] = str(tmp_path / "gone")
    (out / "benchmark.json").write_text(json.dumps(told))
    with pytest.raises(DidgenError, match="name its folder by `--source`"):
        write_submissions(out, tmp_path / "isic")
    assert not (tmp_path / "isic").exists()


def test_a_diagnosis_of_no_column_is_refused(classified: Done, tmp_path: Path) -> None:
    out = copied(classified, tmp_path)
    told = json.loads((out / "benchmark.json").read_text())
    told["classes"][0] = "SCC"
    (out / "benchmark.json").write_text(json.dumps(told))
    with pytest.raises(DidgenError, match="the class SCC, which is no column of Task 3"):
        write_submissions(out, tmp_path / "isic")


def test_predictions_that_were_changed_are_no_submission(classified: Done, tmp_path: Path) -> None:
    out = copied(classified, tmp_path)
    path = sorted(out.rglob(FILES_OF["test"]))[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DidgenError, match="not as it was written"):
        write_submissions(out, tmp_path / "isic")
