"""The Dockerfile: what it copies is there, and its steps install a didgen that runs."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.fixtures.places import REPOSITORY

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """The instructions of the Dockerfile as (word, rest), continued lines joined."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.M)
    lines = re.sub(r"\\\n", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]  # type: ignore[misc]


def steps(word: str) -> list[str]:
    """The rests of the instructions with a word."""
    return [rest for name, rest in instructions() if name == word]


def copied() -> dict[str, str]:
    """What is copied, by where it goes to, from the working folder."""
    found = {}
    for step in steps("COPY"):
        *sources, target = step.split()
        for source in sources:
            found[source] = target if len(sources) == 1 else source
    return found


def test_what_it_copies_is_there_and_is_not_ignored() -> None:
    listed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert listed[0] == "*"
    assert {line[1:] for line in listed if line.startswith("!")} == {*copied()}
    for source, target in copied().items():
        assert (REPOSITORY / source).exists(), source
        assert target == source


def test_it_takes_a_python_that_the_project_takes() -> None:
    (python, device) = steps("ARG")
    assert re.fullmatch(r"PYTHON=3\.1[123]", python) and device == "DEVICE=cpu"
    assert steps("FROM") == ["python:${PYTHON}-slim"]
    # What is written must not be root's, and the command is didgen.
    assert steps("USER") == ["didgen"] and steps("ENTRYPOINT") == ['["didgen"]']


SHIM = """#!{python}
import os, subprocess, sys
asked = sys.argv[1:]
with open("{log}", "a") as log:
    print("{name}", *asked, file=log)
if "{name}" == "uv":
    assert asked[:3] == ["pip", "install", "--system"] and asked[-1].startswith(".")
    # Into a folder of its own: with a prefix pip would take the didgen that is tested away.
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    install += ["{packages}", "--no-build-isolation", asked[-1]]
    sys.exit(subprocess.run(install).returncode)
"""
"""Stands in for a tool: it writes down what it is asked, and installs didgen alone by pip."""


def run_steps(folder: Path, device: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the RUN lines on a copy of what is copied; the last outcome, and what tools were asked.

    Dependencies are those of this environment: a machine without a network has no others.
    """
    work, bin_, packages, log = (folder / name for name in ("work", "bin", "packages", "log"))
    bin_.mkdir()
    for name in ("pip", "uv", "useradd"):
        shim = SHIM.format(python=sys.executable, log=log, name=name, packages=packages)
        (bin_ / name).write_text(shim)
        (bin_ / name).chmod(0o755)
    for source in copied():
        if (REPOSITORY / source).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / source, work / source, symlinks=True, ignore=ignore)
        else:
            work.mkdir(exist_ok=True)
            shutil.copy(REPOSITORY / source, work / source)
    path = f"{bin_}:{packages / 'bin'}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "DEVICE": device, "PYTHONPATH": str(packages)}
    for step in steps("RUN"):
        where = folder if step.startswith("didgen") else work
        done = subprocess.run(
            ["sh", "-ec", step], cwd=where, env=env, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            break
    return done, log.read_text()


@pytest.mark.slow
def test_its_steps_install_a_didgen_that_runs(tmp_path: Path) -> None:
    done, asked = run_steps(tmp_path, "cpu")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"didgen \d+\.\d+\.\d+\n", done.stdout)
    # The didgen that is tested is still there.
    assert version("didgen")
    assert "--constraint requirements.lock --torch-backend=cpu .[review]" in asked
    assert "useradd --create-home" in asked
    package = tmp_path / "packages" / "didgen"
    for name in ("augment/mini/model_index.json", "downstream/review/static/review.js"):
        assert (package / name).is_file(), name


@pytest.mark.slow
def test_for_a_gpu_torch_is_the_one_of_the_lock(tmp_path: Path) -> None:
    done, asked = run_steps(tmp_path, "cuda")
    assert done.returncode == 0, done.stderr
    assert "--torch-backend" not in asked


def test_another_device_is_refused_in_a_sentence(tmp_path: Path) -> None:
    done, asked = run_steps(tmp_path, "tpu")
    assert done.returncode == 1 and done.stderr == "DEVICE is cpu or cuda, not tpu\n"
    assert "uv" not in asked.split("\n")[-2].split()[0]
