"""Tests of the GPU script: its parts are small, and what it calls is there."""

import importlib
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.reading import read_recipe

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "benchmarks" / "gpu.sh"

# Stands for Python: it notes how it was called, and leaves what a training leaves.
STAND_IN = """#!/bin/bash
echo "$@" >>"{log}"
case "$*" in *finetune*)
    run="${{@: -1}}"
    if [ -d "$run/checkpoints" ]; then
        mkdir -p "$run/model" && head -c 30000000 /dev/urandom >"$run/model/weights.safetensors"
    else
        mkdir -p "$run"/checkpoints/unet/step-{{0000050,0000100}}
        exit 124
    fi ;;
esac
"""


def call(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a folder of its own, with a stand-in for Python."""
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(log=tmp_path / "log"))
    python.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "OUT": str(tmp_path / "out")}
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [(), ("fly",), ("train",), ("pack", "a"), ("tests", "b")])
def test_what_it_cannot_do_is_its_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = call(tmp_path, *arguments)
    assert result.returncode == 2 and result.stderr.startswith("usage: benchmarks/gpu.sh pack")


def test_data_and_model_travel_in_small_parts(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "records.jsonl").write_bytes(b"image\n" * 3_000_000)
    assert call(tmp_path, "pack", str(source), str(tmp_path / "data")).returncode == 0
    parts = sorted((tmp_path / "data").iterdir())
    assert [part.name for part in parts] == ["source.tar.00", "source.tar.01"]
    trained = call(tmp_path, "train", str(tmp_path / "data"))
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout == "trained 0000100 steps in 4 minutes\n"
    out = tmp_path / "out"
    assert read_recipe(out / "recipe.yaml", FinetuneRecipe).steps == 100
    models = sorted(out.glob("model.tar.*"))
    assert len(models) == 3
    assert all(path.stat().st_size < 15_000_000 for path in [*parts, *out.iterdir()])
    assert not (out / "source").exists() and not (out / "run").exists()


def test_tests_are_those_that_need_a_gpu(tmp_path: Path) -> None:
    assert call(tmp_path, "tests").returncode == 0
    assert (tmp_path / "log").read_text().split()[-3:] == ["-m", "gpu", "tests"]


def test_what_it_measures_has_these_options(tmp_path: Path) -> None:
    assert call(tmp_path, "speed").returncode == 0
    calls = (tmp_path / "log").read_text().splitlines()
    assert len(calls) == 5
    for line in calls:
        _, module, *arguments = line.split()
        script = importlib.import_module(module)
        app = script.typer.Typer()
        app.command()(script.main)
        known = CliRunner().invoke(app, ["--help"]).output
        for option in re.findall(r"--[a-z-]+", " ".join(arguments)):
            assert option in known, f"{module} has no {option}"
    limits = [int(n) for n in re.findall(r"measure (\d+)", SCRIPT.read_text())]
    assert sum(limits) <= 460
