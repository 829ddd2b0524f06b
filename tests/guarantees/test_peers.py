"""Tests of peers' own tools that stand in no lock: each is installed once, outside the tree."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from didgen.manifests.choices import Config, ExportForm
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.shards.shard import iterate
from didgen.manifests.sources.records import SPLITS
from tests.fixtures.samples import CLASSES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CACHE = Path.home() / ".cache" / "didgen-tests"

NO_INDEX = ("Failed to fetch", "error sending request", "dns error")
"""What uv says where no package index is reached."""


def installed(*requirements: str, excluded: Sequence[str] = ()) -> Path:
    """A folder with packages and what they need but the excluded; where no index is, a skip."""
    asked = [sys.version, *requirements, *excluded]
    folder = CACHE / f"peer-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    fresh, listed = folder.with_suffix(f".{os.getpid()}"), CACHE / f"{os.getpid()}.txt"
    listed.write_text("\n".join(excluded))
    uv = str(Path(sys.executable).parent / "uv")
    call = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(fresh)]
    done = subprocess.run(
        [*call, "--excludes", str(listed), *requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    listed.unlink()
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        if any(sign in done.stderr for sign in NO_INDEX) and not os.environ.get("CI"):
            pytest.skip(f"no package index is reached: {done.stderr.splitlines()[0]}")
        pytest.fail(done.stderr)
    fresh.rename(folder)
    return folder


def told(
    code: str, *arguments: Path | str, flags: Sequence[str] = (), env: Mapping[str, str]
) -> Any:
    """What a script in a process of its own prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", code, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def mixed(source: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mixes") / "mix"
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=0.5, shard_size=7)), out)
    return out


NNUNET_FOLDS = """
import json, sys
from pathlib import Path
from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry
from nnunetv2.run.run_training import get_trainer_from_args
import torch

raw, prepared = map(Path, sys.argv[1:])
sys.argv = "_ -d 502 -c 2d -np 1 -npfp 1 --verify_dataset_integrity".split()
plan_and_preprocess_entry()
(prepared / "splits_final.json").write_bytes((raw / "splits_final.json").read_bytes())
folds = []
for fold in range(5):
    trainer = get_trainer_from_args("502", "2d", fold, device=torch.device("cpu"))
    folds.append([sorted(part.identifiers) for part in trainer.get_tr_and_val_datasets()])
print()
print(json.dumps(folds))
"""


def test_nnunet_checks_plans_and_takes_the_folds(mixed: Path, tmp_path: Path) -> None:
    ours = sorted({one.name for one in distributions()})
    peer = installed("nnunetv2==2.8.1", excluded=ours)
    out = tmp_path / "raw" / "Dataset502_Mix"
    out.parent.mkdir()
    export(prepare_export(mixed, "nnunet", out))
    places = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    env = {"PYTHONPATH": str(peer), "nnUNet_compile": "f", **places}
    found = told(NNUNET_FOLDS, out, tmp_path / "preprocessed" / out.name, env=env)
    written = json.loads((out / "splits_final.json").read_text())
    assert found == [[sorted(fold["train"]), sorted(fold["val"])] for fold in written]
    assert all(validated for _, validated in found)


OLDER_DATASETS = """
import json, sys
import datasets
from datasets import load_dataset

assert datasets.__version__ == "2.21.0"
parquet, folder, mixed, *splits = sys.argv[1:]
tars = {split: f"{mixed}/images/*{split}*.tar" for split in splits}
found = {
    "parquet": load_dataset(parquet, "images"),
    "pairs": load_dataset(parquet, "pairs"),
    "imagefolder": load_dataset(folder, "images"),
    "shards": load_dataset("webdataset", data_files=tars),
}
for loaded in found.values():
    for row in (row for part in loaded.values() for row in part):
        assert row.get("image", row.get("jpg")).convert("L").getextrema() != (0, 0)
labels = {
    name: {s: [row.get("label", row.get("cls")) for row in part] for s, part in loaded.items()}
    for name, loaded in found.items()
}
print(json.dumps(labels))
"""


def test_an_older_datasets_reads_exports(mixed: Path, tmp_path: Path) -> None:
    peer = installed("datasets==2.21.0", "pillow")
    forms: tuple[ExportForm, ...] = ("parquet", "imagefolder")
    for to in forms:
        export(prepare_export(mixed, to, tmp_path / to))
    env = {"PYTHONPATH": str(peer), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    places = (*(tmp_path / to for to in forms), mixed)
    # -S: nothing but the older release and its needs.
    found = told(OLDER_DATASETS, *places, *SPLITS, flags=["-S"], env=env)
    expected: dict[str, dict[str, list[int]]] = {}
    configs: tuple[Config, ...] = ("images", "pairs")
    for config in configs:
        expected[config] = {split: [] for split in SPLITS}
        for sample in iterate(mixed, config):
            record = json.loads(sample.members["json"])
            expected[config][record["split"]].append(record["label"])
    assert found["parquet"] == found["shards"] == expected["images"]
    # A pair may be without a class.
    assert found["pairs"] == {
        split: [None if label < 0 else label for label in labels]
        for split, labels in expected["pairs"].items()
    }
    # Folders are counted by the alphabet.
    places_of = {number: sorted(CLASSES).index(name) for number, name in enumerate(CLASSES)}
    assert found["imagefolder"] == {
        split: sorted(places_of[label] for label in labels)
        for split, labels in expected["images"].items()
    }
