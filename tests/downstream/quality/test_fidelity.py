"""Tests of fidelity: judges of real trainings are asked about the run of noise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from didgen.downstream.benchmark.results import read_predictions, read_segmentations
from didgen.downstream.data.pairs import load_synthetic_pairs
from didgen.downstream.quality.assess import assess, prepare_quality
from didgen.downstream.quality.fidelity import class_fidelity, layout_fidelity
from didgen.downstream.quality.judge import read_judge
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.assessments import fast_recipe
from tests.fixtures.benchmarks import CLASSIFIER


@pytest.fixture(scope="module")
def asked(source: Path, guided_run: Path, judges: tuple[Path, Path]) -> QualityRecipe:
    return fast_recipe(source, guided_run, judges=judges)


def test_judges_say_what_the_naive_loop_says(
    asked: QualityRecipe, judges: tuple[Path, Path], source: Path, guided_run: Path, tmp_path: Path
) -> None:
    job = prepare_quality(asked)
    record = assess(job, tmp_path)
    rows = {
        (row["config"], row["figure"]): row
        for row in record["figures"]
        if row["class"] is None and row["basis"] in ("judge", "layout")
    }
    manifest = SourceManifest.read(source)
    judge = read_judge(judges[0], manifest)
    hits: dict[str, list[bool]] = {}
    images = job.synthetic["images"]
    pictures = images.squares(range(len(images)), judge.size)
    for label, picture in zip(images.labels, pictures, strict=True):
        if label in judge.classes:
            with torch.no_grad():
                logits = judge.network(torch.from_numpy(picture.copy())[None])
            hits.setdefault(label, []).append(judge.classes[int(logits.argmax())] == label)
    row = rows["images", "class_fidelity"]
    assert row["value"] == pytest.approx(np.mean([np.mean(right) for right in hits.values()]))
    assert row["n_synthetic"] == sum(map(len, hits.values())) > 0
    # Two judges that differ in the size of their images alone have two names.
    name = f"{CLASSIFIER} at {judge.size} px, original, seed 0"
    assert row["extractor"] == name and row["extractor_sha256"]
    real = read_predictions(judges[0], judge.classes)
    shares = [
        np.mean(real.probabilities.argmax(1)[real.labels == index] == index)
        for index, name in enumerate(judge.classes)
        if name in hits
    ]
    assert row["floor"]["value"] == pytest.approx(np.mean(shares))

    net = read_judge(judges[1], manifest)
    pairs = load_synthetic_pairs(guided_run, job.samples["pairs"], manifest, net.size)
    ious = []
    for pixels, mask in zip(pairs.pixels, pairs.masks, strict=True):
        with torch.no_grad():
            found = net.network(pixels[None])[0, 0] > 0
        union = (found | mask).sum().item()
        ious.append((found & mask).sum().item() / union if union else 1.0)
    row = rows["pairs", "mask_fidelity"]
    assert row["value"] == pytest.approx(np.mean(ious)) and row["n_synthetic"] == len(ious)
    assert row["floor"]["value"] == pytest.approx(read_segmentations(judges[1]).overlaps.iou.mean())
    low, high = row["interval"]
    assert low <= row["value"] <= high
    assert ("images", "mask_fidelity") not in rows
    page = (tmp_path / "quality.md").read_text()
    assert f"| class fidelity ({name}) |" in page


def test_recalls_of_classes_make_the_balanced_accuracy(
    asked: QualityRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> dict[str | None, dict[str, Any]]:
        rows = class_fidelity(job.judges[0], job.synthetic["images"])
        return {row["class"]: row for row in rows}

    job = prepare_quality(asked)
    assert told().keys() == {None}, "no class has enough samples"
    monkeypatch.setattr("didgen.downstream.quality.fidelity.LEAST", 1)
    rows = told()
    for side in (dict, lambda row: row["floor"]):
        recalls = [side(row)["value"] for label, row in rows.items() if label]
        assert side(rows[None])["value"] == pytest.approx(np.mean(recalls))


def test_the_layouts_are_followed_as_the_rows_say() -> None:
    ious = [0.5, 0.75, 1.0]
    rows: dict[str, dict[str, Any]] = {
        f"pair-{n}": {"scores": {"layout_iou": v}} for n, v in enumerate(ious)
    }
    (row,) = layout_fidelity(rows)
    assert row["value"] == pytest.approx(0.75) and row["n_synthetic"] == 3
    assert row["floor"]["value"] is None and 0.5 <= row["interval"][0] <= row["interval"][1] <= 1
    assert list(layout_fidelity({"pair-0": {}})) == []
