"""Tests of the workflow: what Snakemake is given; stages that fail, and that are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from didgen.downstream.study.graph import stages_of
from didgen.downstream.study.hours import FINISHED_NAME
from didgen.downstream.study.workflow import (
    PLAN_NAME,
    PROFILE,
    Places,
    carry_out,
    profile_of,
    snakemake_command,
    write_workflow,
)
from didgen.manifests.files import read_json, write_bytes
from didgen.manifests.recipes.study import Slurm
from didgen.manifests.recipes.yaml12 import write_yaml
from tests.fixtures.studies import drawing, study_of, training, write_plan


def is_running(pid: int) -> bool:
    """Whether a process is at work; one that nobody waits for has ended all the same."""
    status = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


COUNT = "open('{0}', 'a').write('x')"


def test_the_plan_has_every_stage_and_its_command(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = {"one": {"train": training(steps=5) | {"hours": 3.0}, "pairs": drawing()}}
    recipe = study_of(source, systems, stage_minutes=90)
    places = Places(Path("state"), Path("records"), tmp_path)
    monkeypatch.chdir(tmp_path)
    stages = stages_of(recipe, places.state)
    write_workflow(stages, recipe, places, "local")
    plan = read_json(tmp_path / "state" / PLAN_NAME)
    assert plan["records"] == str(tmp_path / "records")
    model, pairs = plan["stages"].values()
    assert (model["shifts"], pairs["shifts"]) == (3, 1)
    assert pairs["needs"] == [model["outputs"][-1]]
    for stage, name in ((model, "finetune"), (pairs, "augment")):
        *_, command, file, out, folder = stage["command"]
        assert (command, out) == (name, "--out")
        assert folder == f"state/stages/{Path(stage['folder']).name}/out"
        asked = yaml.safe_load((tmp_path / file).read_text())
        assert asked["kind"] == name
    assert asked["model"] == f"state/stages/{Path(model['folder']).name}/out/model"


def test_the_profile_of_this_machine_has_one_heavy_stage_at_a_time() -> None:
    profile = profile_of(Slurm(), "local")
    assert profile["resources"] == ["heavy=1"] and profile["keep-going"]


def test_the_profile_of_slurm_and_its_command_line(tmp_path: Path) -> None:
    profile = profile_of(Slurm(partition="gpu", account="skin", jobs=5), "slurm")
    assert (profile["executor"], profile["jobs"]) == ("slurm", 5)
    assert profile["default-resources"] == ["slurm_partition=gpu", "slurm_account=skin"]
    assert "resources" not in profile and "cores" not in profile
    command = snakemake_command(Places(Path("state"), None, tmp_path))
    assert command[1:3] == ["-m", "snakemake"]
    assert command[command.index("--profile") + 1] == str(tmp_path / "state" / PROFILE)
    assert command[-1] == f"plan={tmp_path / 'state' / PLAN_NAME}"


def with_profile(state: Path, executor: str = "local") -> Places:
    profile = profile_of(Slurm(partition="gpu", gpus=1), executor)  # type: ignore[arg-type]
    write_bytes(state / PROFILE / "config.yaml", write_yaml(profile).encode())
    return Places(state, None, state)


@pytest.mark.slow
def test_a_stage_that_fails_leaves_the_others_and_is_gone_on_from(tmp_path: Path) -> None:
    fails = "import pathlib, sys; sys.exit(not pathlib.Path('mended').exists())"
    write_plan(
        tmp_path,
        {
            "a": (COUNT.format("a"),),
            "b": (fails, "a"),
            "after-b": (COUNT.format("after-b"), "b"),
            "c": (COUNT.format("c"), "a"),
        },
    )
    places = with_profile(tmp_path)
    assert carry_out(places, "local") != 0
    ended = {path.parent.name for path in (tmp_path / "stages").glob(f"*/{FINISHED_NAME}")}
    assert ended == {"a", "c"}
    (tmp_path / "mended").touch()
    assert carry_out(places, "local") == 0
    # What was done was not done again.
    assert all((tmp_path / name).read_text() == "x" for name in ("a", "after-b", "c"))
    assert carry_out(places, "local") == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_study_that_is_killed_leaves_no_process_and_goes_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    waits = (
        "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); "
        "pathlib.Path('go').exists() or time.sleep(300)"
    )
    write_plan(tmp_path, {"a": (COUNT.format("a"),), "b": (waits, "a")})
    places = with_profile(tmp_path)
    program = (
        "import signal, sys; from pathlib import Path; signal.signal(signal.SIGTERM, sys.exit); "
        "from didgen.downstream.study.workflow import Places, carry_out; "
        f"here = Path({str(tmp_path)!r}); carry_out(Places(here, None, here), 'local')"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    process.wait()
    # The stage alone knows that its study was killed, and looks every few seconds.
    for _ in range(300 if number == signal.SIGKILL else 1):
        if not is_running(int((tmp_path / "pid").read_text())):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the stage outlives its study")
    assert not (tmp_path / "stages" / "b" / FINISHED_NAME).exists()
    (tmp_path / "go").touch()
    assert carry_out(places, "local") == 0
    assert (tmp_path / "a").read_text() == "x"


@pytest.mark.slow
def test_snakemake_takes_the_profile_of_slurm(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_plan(tmp_path, {"a": ("",), "b": ("", "a")}, slurm={"cpus": 3, "memory_gb": 7, "gpus": 1})
    assert (
        carry_out(with_profile(tmp_path, "slurm"), "slurm", ["--dry-run", "--quiet", "host"]) == 0
    )
    printed = capfd.readouterr()
    said = printed.out + printed.err
    assert "stage_0_shift_1" in said and "stage_1_shift_1" in said
    wanted = ("mem_mb=7000", "runtime=20", "gpu=1", "slurm_partition=gpu", "cpus_per_task=3")
    for resource in wanted:
        assert resource in said
