"""Tests of export: other people's readers get every sample, and nothing is half there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.mix import mix, prepare_mix
from tests.fixtures.environment import load

pytestmark = pytest.mark.usefixtures("datasets_offline")


@pytest.fixture(scope="module")
def mixed(source, run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mixes") / "mix"
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=0.5, shard_size=7)), out)
    return out


def test_a_mix_keeps_its_splits_everywhere(mixed, tmp_path):
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

    out = tmp_path / "Dataset502_Mix"
    export(prepare_export(mixed, "nnunet", out))
    (fold,) = json.loads((out / "splits_final.json").read_text())
    training = {path.name.removesuffix("_0000.png") for path in (out / "imagesTr").iterdir()}
    assert set(fold["train"]) | set(fold["val"]) == training
    assert len(fold["val"]) == 6
    assert not any("synthetic" in key for key in fold["val"])
    tested = [path.name for path in (out / "imagesTs").iterdir()]
    assert len(tested) == len(list((out / "labelsTs").iterdir())) == 6
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == len(training) == 30


def test_progress_counts_shards(run, tmp_path):
    hashed: list[tuple[int, int]] = []
    written: list[tuple[int, int]] = []
    job = prepare_export(run, "parquet", tmp_path / "out", lambda *at: hashed.append(at))
    export(job, lambda *at: written.append(at))
    assert hashed == written == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_killed_export_leaves_nothing_under_its_name_and_is_done_again(run, tmp_path):
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
