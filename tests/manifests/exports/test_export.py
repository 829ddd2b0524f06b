"""Tests of export: other people's readers get every sample, and nothing is half there."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.shards.shard import iterate
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.environment import load
from tests.fixtures.samples import CLASSES
from tests.fixtures.sources import changed_source

pytestmark = pytest.mark.usefixtures("datasets_offline")


@pytest.fixture(scope="module")
def mixed(source: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mixes") / "mix"
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=0.5, shard_size=7)), out)
    return out


def test_a_mix_keeps_its_splits_everywhere(mixed: Path, tmp_path: Path) -> None:
    counts = {"train": 18, "val": 6, "test": 6}
    # 9 wanted, 6 made.
    synthetic = {"train": 6, "val": 0, "test": 0}
    for to in ("imagefolder", "parquet"):
        job = prepare_export(mixed, to, tmp_path / to)
        export(job)
        loaded = load(tmp_path / to, "pairs", tmp_path / "cache")
        for split, part in loaded.items():
            origins = list(part["origin"])
            assert origins.count("real") == counts[split]
            assert origins.count("synthetic") == synthetic[split]
    # One of the six has no label.
    assert load(tmp_path / "parquet", "images", tmp_path / "cache")["test"].num_rows == 5


def test_nnunet_gets_five_folds_of_a_mix(
    source: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    training = SourceManifest.read(source).select(split="train", masked=True)
    guides = [record.key for record in training[:3]]
    twins = make_run(tmp_path / "run", layouts=("drawn", *guides))
    mix(prepare_mix(MixRecipe(source=source, run=twins, ratio=1, shard_size=7)), tmp_path / "mix")
    out = tmp_path / "Dataset502_Mix"
    export(prepare_export(tmp_path / "mix", "nnunet", out))
    cases = {path.name.removesuffix("_0000.png") for path in (out / "imagesTr").iterdir()}
    records = {s.key: json.loads(s.members["json"]) for s in iterate(tmp_path / "mix", "pairs")}
    guided = {key: records[key]["source_key"] for key in cases if "synthetic" in key}
    assert sorted(filter(None, guided.values())) == sorted([*guides, guides[0]])
    folds = json.loads((out / "splits_final.json").read_text())
    assert len(folds) == 5
    for fold in folds:
        held_out = {records[key]["source_key"] for key in fold["val"]}
        assert not any("synthetic" in key for key in fold["val"])
        assert set(fold["train"]) == {k for k in cases if records[k]["source_key"] not in held_out}
    assert {records[key]["split"] for key in folds[0]["val"]} == {"val"}
    validated = Counter(key for fold in folds for key in fold["val"])
    assert validated == Counter(cases - guided.keys())
    tested = [path.name for path in (out / "imagesTs").iterdir()]
    assert len(tested) == len(list((out / "labelsTs").iterdir())) == 6
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == len(cases) == 30
    assert "It has five folds" in (out / "README.md").read_text()


@pytest.mark.parametrize("to", ["shards", "parquet", "imagefolder"])
def test_datasets_needs_no_config_and_knows_the_classes_by_name(
    mixed: Path, tmp_path: Path, to: Any
) -> None:
    folder = mixed
    if to != "shards":
        folder = tmp_path / to
        export(prepare_export(mixed, to, folder))
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "val", "test"}
    column = "cls" if to == "shards" else "label"
    names = loaded["train"].features[column].names
    # Folders are counted by the alphabet.
    assert names == (sorted(CLASSES) if to == "imagefolder" else list(CLASSES))
    if to == "imagefolder":
        return
    found = Counter(names[row[column]] for part in loaded.values() for row in part)
    records = [json.loads(sample.members["json"]) for sample in iterate(mixed, "images")]
    assert found == Counter(record["class"] for record in records)
    first = next(iter(load_dataset(str(folder), streaming=True)["train"]))
    assert names[first[column]] == records[0]["class"]
    if to == "shards":
        assert loaded["train"][0]["json"] == records[0] == first["json"]


def test_the_patient_reaches_a_mix_as_a_number(run: Path, tmp_path: Path) -> None:
    def change(manifest: SourceManifest) -> Iterator[SourceRecord]:
        for number, record in enumerate(manifest.records):
            # Half of each split's images are of one patient.
            patient = f"Doe {record.split}" if number % 2 else None
            yield record.model_copy(update={"patient_id": patient})

    source = changed_source(tmp_path / "mine", change)
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=1)), tmp_path / "mix")
    patients = {r.key: r.patient_id for r in SourceManifest.read(source).records}
    numbers = {None: 0, "Doe test": 1, "Doe train": 2, "Doe val": 3}
    for sample in iterate(tmp_path / "mix", "pairs"):
        record = json.loads(sample.members["json"])
        own = patients[record["source_key"]] if record["origin"] == "real" else None
        assert record["patient"] == numbers[own]
    assert not [
        p for p in (tmp_path / "mix").rglob("*") if p.is_file() and b"Doe" in p.read_bytes()
    ]
    out = tmp_path / "Dataset503_Mix"
    export(prepare_export(tmp_path / "mix", "nnunet", out))
    for fold in json.loads((out / "splits_final.json").read_text()):
        both = [
            {patients[key.removeprefix("real-")] for key in fold[side] if key.startswith("real-")}
            for side in ("train", "val")
        ]
        assert both[0] & both[1] <= {None}


def test_a_fold_validates_no_mask_that_no_person_drew(run: Path, tmp_path: Path) -> None:
    drawn = {"ISIC_0000000", "ISIC_0000001", "ISIC_0000002"}

    def change(manifest: SourceManifest) -> Iterator[SourceRecord]:
        for record in manifest.records:
            of_one = {"lesion_id": "lesion 0"} if record.key == "ISIC_0000001" else {}
            by = {"mask_by": "mini"} if record.key in drawn - {"ISIC_0000000"} else {}
            yield record.model_copy(update=of_one | by)

    source = changed_source(tmp_path / "mine", change)
    root = Path(SourceManifest.read(source).header.root)
    for key in drawn:
        shutil.copy(root / f"{key}_mask.png", source)
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=1)), tmp_path / "mix")
    out = tmp_path / "Dataset504_Mix"
    export(prepare_export(tmp_path / "mix", "nnunet", out))
    folds = json.loads((out / "splits_final.json").read_text())
    validated = {key for fold in folds for key in fold["val"]}
    assert "real-ISIC_0000000" in validated
    for fold in folds:
        assert not {"real-ISIC_0000001", "real-ISIC_0000002"} & {*fold["val"]}
        assert "real-ISIC_0000002" in fold["train"]
        # Two photographs of one lesion are never on both sides.
        sides = ["real-ISIC_0000000" in fold["val"], "real-ISIC_0000001" in fold["train"]]
        assert sides != [True, True]
    by = {
        record["key"]: record["mask_by"]
        for sample in iterate(tmp_path / "mix", "pairs")
        for record in [json.loads(sample.members["json"])]
    }
    assert {key for key, name in by.items() if name} == {f"real-{one}" for one in drawn} - {
        "real-ISIC_0000000"
    }
    export(prepare_export(tmp_path / "mix", "parquet", tmp_path / "parquet"))
    rows = load(tmp_path / "parquet", "pairs", tmp_path / "cache")["train"]
    assert set(rows["mask_by"]) == {"", "mini"}


def test_progress_counts_shards(run: Path, tmp_path: Path) -> None:
    hashed: list[tuple[int, int]] = []
    written: list[tuple[int, int]] = []
    job = prepare_export(run, "parquet", tmp_path / "out", lambda *at: hashed.append(at))
    export(job, lambda *at: written.append(at))
    assert hashed == written == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_killed_export_leaves_nothing_under_its_name_and_is_done_again(
    run: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, time; from pathlib import Path; "
        "from didgen.manifests.exports.export import export; "
        "from didgen.manifests.exports.sound_run import prepare_export; "
        "job = prepare_export(Path(sys.argv[1]), 'imagefolder', Path(sys.argv[2])); "
        "export(job, lambda *at: (print('on its way', flush=True), time.sleep(60)))"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(run), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on its way\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    export(prepare_export(run, "imagefolder", out))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list(out.rglob("*.jpg"))) == 16
