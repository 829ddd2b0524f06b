"""Tests of the shifts of stages: ended, stopped after their minutes, failed, gone on from."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from didgen.downstream.study.hours import FINISHED_NAME
from didgen.downstream.study.shift import (
    SESSION,
    SESSION_NAME,
    STAGE_LOCK,
    STUDY_LOCK,
    for_minutes,
    orphaned,
    run_shift,
)
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_json
from didgen.manifests.locks import claimed
from tests.fixtures.studies import write_plan

COUNT = "open('count', 'a').write('x')"
"""A program that says how often it ran."""

SLEEP = f"{COUNT}; import time; time.sleep(60)"


def in_shifts(plan: dict[str, Any], name: str, shifts: int) -> dict[str, Any]:
    """A plan with so many shifts of a stage."""
    outputs = [*(f"done/{name}.shift-{n}.json" for n in range(1, shifts)), f"done/{name}.json"]
    plan["stages"][name] |= {"shifts": shifts, "outputs": outputs}
    return plan


def test_a_stage_that_ends_leaves_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = in_shifts(write_plan(tmp_path, {"a": (COUNT,)}), "a", 2)
    for number in (1, 2, 2):
        run_shift(plan, "a", number)
    # It ended in its first shift, and is not begun again.
    assert (tmp_path / "count").read_text() == "x"
    record = read_json(tmp_path / "stages" / "a" / FINISHED_NAME)
    assert (record["name"], record["digest"], record["failures"]) == ("a", "a", 0)
    assert 0 < record["seconds"] < 60
    assert sorted(path.name for path in Path("done").iterdir()) == ["a.json", "a.shift-1.json"]


def test_minutes_that_are_over_stop_it_until_the_next_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = in_shifts(write_plan(tmp_path, {"a": (SLEEP,)}, minutes=0.01), "a", 2)
    run_shift(plan, "a", 1)
    assert (tmp_path / "done" / "a.shift-1.json").exists()
    assert not (tmp_path / "stages" / "a" / FINISHED_NAME).exists()
    with pytest.raises(DidgenError, match=r"a was not done after .* give it more `hours`"):
        run_shift(plan, "a", 2)
    assert not (tmp_path / "done" / "a.json").exists()
    plan["stages"]["a"]["command"][-1] = COUNT
    plan["minutes"] = 5
    run_shift(plan, "a", 2)
    assert len(read_json(tmp_path / "stages" / "a" / "seconds.json")) == 3


def test_a_command_that_fails_says_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = write_plan(tmp_path, {"a": ("import sys; sys.exit('Error: no such source.')",)})
    with pytest.raises(DidgenError, match=r"a ended with the exit code 1: Error: no such source\."):
        run_shift(plan, "a", 1)
    assert not (tmp_path / "done").exists()


def test_a_run_that_lacks_samples_is_told_of_and_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = write_plan(tmp_path, {"a": ("import sys; sys.exit(1)",)})
    plan["stages"]["a"]["kind"] = "augment"
    write_json(tmp_path / "stages" / "a" / "out" / "manifest.json", {"totals": {"failures": 2}})
    run_shift(plan, "a", 1)
    assert read_json(tmp_path / "stages" / "a" / FINISHED_NAME)["failures"] == 2


def test_records_are_small_and_without_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = write_plan(tmp_path, {"a": (COUNT,)}, records=str(tmp_path / "records"))
    out = tmp_path / "stages" / "a" / "out"
    said = {"runs": str(out), "other": "/elsewhere/file", "score": 0.5}
    write_json(out / "benchmark.json", said)
    write_json(out / "weights.json", {})
    run_shift(plan, "a", 1)
    folder = tmp_path / "records" / "a"
    assert sorted(path.name for path in folder.iterdir()) == ["benchmark.json", FINISHED_NAME]
    text = (folder / "benchmark.json").read_text()
    assert str(tmp_path) not in text and "elsewhere" not in text
    assert read_json(folder / "benchmark.json")["runs"] == "$STATE/stages/a/out"


def test_a_command_has_the_exit_code_of_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    command = [sys.executable, "-c", "print('said'); raise SystemExit(3)"]
    assert for_minutes(command, tmp_path, log, 1) == 3
    assert log.read_text() == "said\n"


def test_a_shift_ends_with_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = write_plan(tmp_path, {"a": (SLEEP,)})
    assert not orphaned()
    monkeypatch.setenv(SESSION, "mine")
    monkeypatch.setattr("didgen.downstream.study.shift.LOOK", 0.05)
    write_json(Path(SESSION_NAME), {"session": "mine"})
    with claimed(tmp_path, STUDY_LOCK):
        assert not orphaned()
        write_json(Path(SESSION_NAME), {"session": "another"})
        assert orphaned()
        write_json(Path(SESSION_NAME), {"session": "mine"})
        # The session ends while the command is at work.
        timer = threading.Timer(0.3, write_json, (Path(SESSION_NAME), {"session": "another"}))
        timer.start()
        with pytest.raises(DidgenError, match=r"a: its `didgen study` has ended; start it again"):
            run_shift(plan, "a", 1)
        timer.join()
    assert (tmp_path / "count").read_text() == "x"
    assert len(read_json(tmp_path / "stages" / "a" / "seconds.json")) == 1
    # The lock is free: whoever held it was killed.
    write_json(Path(SESSION_NAME), {"session": "mine"})
    with pytest.raises(DidgenError, match="has ended"):
        run_shift(plan, "a", 1)
    assert (tmp_path / "count").read_text() == "x"


def test_one_stage_at_a_time_waits_for_one_that_is_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = write_plan(tmp_path, {"a": (COUNT,)})
    monkeypatch.setenv(SESSION, "mine")
    write_json(Path(SESSION_NAME), {"session": "mine"})
    held = threading.Event()

    def leave() -> None:
        with claimed(tmp_path, STAGE_LOCK):
            held.set()
            time.sleep(0.3)

    leaving = threading.Thread(target=leave)
    with claimed(tmp_path, STUDY_LOCK):
        leaving.start()
        assert held.wait(10)
        run_shift(plan, "a", 1)
    leaving.join()
    assert "is still leaving; waiting for it" in capsys.readouterr().out
    assert (tmp_path / "count").read_text() == "x"
