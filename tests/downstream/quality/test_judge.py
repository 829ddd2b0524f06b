"""Tests of judges: what is read as one, and the name that it has."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ClassifyRecipe
from didgen.downstream.benchmark.results import read_predictions
from didgen.downstream.quality.judge import read_judge, read_judges
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.benchmarks import NET


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
    held_out = prepare_classification(recipe(run=None, arms=["original"])).images
    with torch.no_grad():
        for name, part in (("validation", held_out["val"]), ("predictions", held_out["test"])):
            chances = judge.network(part.pixels).softmax(1).numpy()
            told = read_predictions(judges[0], judge.classes, f"{name}.jsonl")
            assert told.keys == part.keys
            assert told.probabilities == pytest.approx(chances, abs=1e-5)


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
    treated = changed(judges[0], tmp_path / "treated", images={"train": 12, "synthetic": 10})
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
    held_out = {r.key for r in manifest.records if r.split == "val"}
    moved = SourceManifest(
        manifest.header,
        tuple(
            r.model_copy(update={"split": "train"}) if r.key in held_out else r
            for r in manifest.records
        ),
    )
    with pytest.raises(DidgenError, match="which is not held out in the source"):
        read_judge(judges[0], moved)
