"""Judges of real trainings are asked about the run of noise: figures, oracles and refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from didgen.downstream.benchmark.classification.benchmark import classify
from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe
from didgen.downstream.benchmark.results import (
    read_predictions,
    read_segmentations,
    training_folder,
)
from didgen.downstream.benchmark.segmentation.benchmark import segment
from didgen.downstream.benchmark.segmentation.job import prepare_segmentation
from didgen.downstream.data.pairs import load_synthetic_pairs
from didgen.downstream.quality.assess import assess, prepare_quality
from didgen.downstream.quality.fidelity import class_fidelity, layout_fidelity
from didgen.downstream.quality.judge import read_judge, read_judges
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.sources.records import SourceManifest

CLASSIFIER, NET = "conv", "unet"


@pytest.fixture(scope="module")
def judges(
    tmp_path_factory: pytest.TempPathFactory,
    recipe: Callable[..., ClassifyRecipe],
    segment_recipe: Callable[..., SegmentRecipe],
) -> tuple[Path, Path]:
    """The folders of a classifier and of a segmentation net, trained for an epoch."""
    folder = tmp_path_factory.mktemp("judges")
    only: dict[str, Any] = {"run": None, "arms": ["original"], "seeds": [0]}
    nets = [
        {
            "name": "monai.UNet",
            "called": NET,
            "weights": "none",
            "arguments": {"channels": [4, 8], "strides": [2]},
        }
    ]
    classifiers = [{"name": "test_efficientnet", "called": CLASSIFIER, "weights": "none"}]
    classify(prepare_classification(recipe(**only, networks=classifiers)), folder / "classify")
    segment(
        prepare_segmentation(segment_recipe(**only, networks=nets, real=[None])),
        folder / "segment",
    )
    return (
        training_folder(folder / "classify", CLASSIFIER, "original", 0),
        training_folder(folder / "segment", NET, "original", 0),
    )


@pytest.fixture(scope="module")
def asked(source: Path, guided_run: Path, judges: tuple[Path, Path]) -> QualityRecipe:
    return QualityRecipe(
        real=source,
        synthetic=guided_run,
        extractor="timm:test_efficientnet/1",
        weights="none",
        size=48,
        pairs=4,
        planted=2,
        judges=judges,
    )


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


def test_judges_of_one_name_get_two(
    judges: tuple[Path, Path], source: Path, tmp_path: Path
) -> None:
    manifest = SourceManifest.read(source)
    other = shutil.copytree(judges[0], tmp_path / "other")
    network = read_judge(other, manifest).network.get_submodule("network")
    with torch.no_grad():
        next(network.parameters()).add_(1)
    state = {name: part.contiguous() for name, part in network.state_dict().items()}
    save_file(state, other / "weights.safetensors")
    record = json.loads((other / "result.json").read_text())
    record["files"]["weights.safetensors"] = sha256_of(other / "weights.safetensors")
    (other / "result.json").write_text(json.dumps(record))
    names = [judge.name for judge in read_judges([judges[0], other, judges[1]], manifest)]
    assert len({*names}) == 3
    assert names[2] == f"{NET} at 32 px, original, seed 0, 18 real pairs"


def test_a_judge_of_the_test_images_says_its_own_floor(
    judges: tuple[Path, Path], recipe: Callable[..., ClassifyRecipe], source: Path
) -> None:
    judge = read_judge(judges[0], SourceManifest.read(source))
    test = prepare_classification(recipe(run=None, arms=["original"])).images["test"]
    with torch.no_grad():
        chances = judge.network(test.pixels).softmax(1).numpy()
    told = read_predictions(judges[0], judge.classes)
    assert told.keys == test.keys
    assert told.probabilities == pytest.approx(chances, abs=1e-5)


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


def changed(folder: Path, to: Path, **fields: object) -> Path:
    """A copy of a training's folder whose record was asked for otherwise."""
    shutil.copytree(folder, to)
    record = json.loads((to / "result.json").read_text())
    record["asked"] |= fields
    (to / "result.json").write_text(json.dumps(record))
    return to


def test_what_is_no_judge_is_refused(
    judges: tuple[Path, Path], source: Path, tmp_path: Path
) -> None:
    manifest = SourceManifest.read(source)
    with pytest.raises(DidgenError, match="is no training of `didgen classify`"):
        read_judge(tmp_path, manifest)
    treated = changed(judges[0], tmp_path / "treated", arm="didgen")
    with pytest.raises(DidgenError, match="was trained on synthetic samples too"):
        read_judge(treated, manifest)
    torn = changed(judges[1], tmp_path / "torn")
    (torn / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(DidgenError, match=r"weights.safetensors is missing or not as it was"):
        read_judge(torn, manifest)
    bare = changed(judges[1], tmp_path / "bare")
    record = json.loads((bare / "result.json").read_text())
    del record["files"]["weights.safetensors"]
    (bare / "result.json").write_text(json.dumps(record))
    with pytest.raises(DidgenError, match="has no weights; delete it, and train it again"):
        read_judge(bare, manifest)
    other = changed(
        judges[1],
        tmp_path / "other",
        network={
            "name": "monai.UNet",
            "called": NET,
            "arguments": {"channels": [8, 16], "strides": [2]},
        },
    )
    with pytest.raises(DidgenError, match="does not fit its network"):
        read_judge(other, manifest)
    held_out = {r.key for r in manifest.records if r.split == "test"}
    moved = SourceManifest(
        manifest.header,
        tuple(
            r.model_copy(update={"split": "train"}) if r.key in held_out else r
            for r in manifest.records
        ),
    )
    with pytest.raises(DidgenError, match="which is not held out in the source"):
        read_judge(judges[0], moved)
