"""Tests of commands that write a folder and are killed, starved and doubled: import to report.

The same command then ends like one that nobody disturbed; what lies there meanwhile is not taken
for more than it is, and no temporary file stays. The module takes about two minutes on two idle
cores.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.benchmarks import guided_run
from tests.fixtures.crash_tasks import EXPORTS, NAMES, Task, files, litter, make_tasks
from tests.fixtures.runs import contents
from tests.fixtures.worker import Worker, mount

__all__ = ["guided_run"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AT_WORK = "Another process is at work in {}; wait for it"
REFUSED = dict.fromkeys(EXPORTS, "{} exists already") | {"classify": AT_WORK, "segment": AT_WORK}
"""What the second of two commands at once may be told."""

BLOCK = 4096
"""Bytes by which a small file system counts."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("logs") / "worker.log")
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def tasks(
    worker: Worker, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Task]:
    """The commands, with what they need."""
    data = {name: request.getfixturevalue(name) for name in ("source", "run", "guided_run")}

    def carry_out(words: list[str]) -> None:
        worker.start({"command": words})
        assert worker.statuses() == [0], worker.said()

    return make_tasks(tmp_path_factory.mktemp("tasks"), data, carry_out)


def assert_whole(out: Path, whole: Path) -> None:
    """All files are those of the command that nobody disturbed, and nothing else lies around."""
    ours, wanted = files(out), files(whole)
    assert ours.keys() == wanted.keys()
    assert [name for name in ours if ours[name] != wanted[name]] == []
    assert litter(out.parent) == []


@pytest.fixture(scope="module")
def wholes(
    worker: Worker, tasks: dict[str, Task], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, float]]:
    """What each command writes undisturbed, and the seconds that takes."""
    found = {}
    for name, task in tasks.items():
        out = tmp_path_factory.mktemp(name) / "out"
        task.begin(out)
        begin = time.monotonic()
        worker.start(task.order(out))
        assert worker.statuses() == [0], worker.said()
        found[name] = out, time.monotonic() - begin
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_command_killed_at_any_moment_ends_well_the_next_time(
    worker: Worker,
    tasks: dict[str, Task],
    wholes: dict[str, tuple[Path, float]],
    name: str,
    tmp_path: Path,
) -> None:
    (whole, seconds), task = wholes[name], tasks[name]
    chance, kills, runs = np.random.default_rng(0), 0, 0
    out = tmp_path / "0" / "out"
    out.parent.mkdir()
    task.begin(out)
    while True:
        (child,) = worker.start(task.order(out))
        if kills < task.kills:
            # Most of what is written is written late.
            time.sleep(seconds * chance.beta(3, 1.5))
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        (status,) = worker.statuses()
        kills += status == -signal.SIGKILL
        if status == -signal.SIGKILL:
            task.check(out, whole)
            # An export that has its name is done, even where its command was killed after that.
            if name not in EXPORTS or not out.exists():
                continue
        else:
            assert status == 0, worker.said()
            assert_whole(out, whole)
        if kills >= task.kills or runs > 3 * task.kills:
            break
        runs += 1
        out = tmp_path / str(runs) / "out"
        out.parent.mkdir()
        task.begin(out)
    assert kills > 0


@pytest.mark.parametrize("name", NAMES)
def test_two_at_once_end_like_one(
    worker: Worker,
    tasks: dict[str, Task],
    wholes: dict[str, tuple[Path, float]],
    name: str,
    tmp_path: Path,
) -> None:
    out = tmp_path / "new" / "out"
    out.parent.mkdir()
    tasks[name].begin(out)
    worker.said()
    worker.start(tasks[name].order(out), tasks[name].order(out))
    statuses = worker.statuses()
    if name in REFUSED and sorted(statuses) == [0, 1]:
        assert f"Error: {REFUSED[name].format(out)}" in worker.said()
    else:
        assert statuses == [0, 0], worker.said()
    assert_whole(out, wholes[name][0])


def test_two_imports_of_different_options_are_one_of_them(
    worker: Worker, tasks: dict[str, Task], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = tasks["import"].words(out)
    worker.start({"command": words}, {"command": [*words, "--split", "0", "0", "1"]})
    assert worker.statuses() == [0, 0], worker.said()
    manifest = SourceManifest.read(out)
    tested = {record.split for record in manifest.records} == {"test"}
    assert tested == (manifest.header.fractions == (0, 0, 1))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system of its own, of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount(folder, "-o", "size=64m"):
        pytest.skip("this user may not mount")
    yield folder
    assert mount(folder, "-o", "remount,size=64m,rw")
    os.system(f"umount {folder}")  # noqa: S605 - a path of this test


def blocks(folder: Path) -> int:
    """The blocks that the files of a folder take."""
    return sum(path.stat().st_size // BLOCK + 1 for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_one_sentence_and_then_the_command_ends_well(
    worker: Worker,
    tasks: dict[str, Task],
    wholes: dict[str, tuple[Path, float]],
    name: str,
    disk: Path,
) -> None:
    whole, out = wholes[name][0], disk / "out"
    tasks[name].begin(out)
    # Room for a part of what is to be written.
    there = blocks(disk)
    room = there + max(1, (blocks(whole) - there) // 2)
    assert mount(disk, "-o", f"remount,size={room * BLOCK}")
    worker.said()
    worker.start(tasks[name].order(out))
    assert worker.statuses() == [1]
    said = worker.said()
    assert "No space left on device; make room" in said and "Traceback" not in said
    assert [path for path in litter(disk) if path.suffix == ".tmp"] == []
    tasks[name].check(out, whole)
    assert mount(disk, "-o", "remount,size=64m")
    worker.start(tasks[name].order(out))
    assert worker.statuses() == [0], worker.said()
    assert_whole(out, whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_read_only_target_is_one_sentence_and_nothing_changes(
    worker: Worker, tasks: dict[str, Task], name: str, disk: Path
) -> None:
    out = disk / "out"
    tasks[name].begin(out)
    before = contents(disk)
    assert mount(disk, "-o", "remount,ro")
    worker.said()
    worker.start(tasks[name].order(out))
    assert worker.statuses() == [1]
    said = worker.said()
    assert "Read-only file system; see to its rights" in said and "Traceback" not in said
    assert contents(disk) == before


def test_a_finished_source_or_mix_may_be_read_only(
    worker: Worker, tasks: dict[str, Task], wholes: dict[str, tuple[Path, float]], disk: Path
) -> None:
    for name in ("caption", "mix"):
        shutil.copytree(wholes[name][0], disk / name)
    assert mount(disk, "-o", "remount,ro")
    for name in ("caption", "mix"):
        worker.start(tasks[name].order(disk / name))
        assert worker.statuses() == [0], worker.said()


def test_what_no_import_wrote_is_not_written_over(
    worker: Worker, tasks: dict[str, Task], tmp_path: Path
) -> None:
    own = tmp_path / "records.jsonl"
    own.write_text(json.dumps({"mine": 1}) + "\n")
    worker.said()
    worker.start(tasks["import"].order(tmp_path))
    assert worker.statuses() == [1]
    assert "is no list of images by didgen; name another folder" in worker.said()
    assert json.loads(own.read_text()) == {"mine": 1}
