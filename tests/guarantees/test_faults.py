"""Tests of faults: runs that are killed, starved, doubled and damaged, and what is left of them."""

import errno
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from didgen.manifests.files import located
from didgen.manifests.runs.verify import verify
from tests.fixtures.recipes import QUICK, UNGATED
from tests.fixtures.runs import contents, told
from tests.fixtures.worker import Worker, mount

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 40

RECIPE = {
    "kind": "augment",
    "images": {"per_class": {"MEL": 24, "BCC": 24}},
    "pairs": {"count": 8, "layouts": "drawn"},
    "sampling": QUICK | {"steps": 1},
    # Random weights meet a gate by chance; this one lets about every second image through.
    "gates": UNGATED | {"redraws": 1},
    "shard_size": 2,
}


@pytest.fixture(scope="module")
def recipe(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "faults.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"model": str(model)}))
    return path


@pytest.fixture(scope="module")
def worker(recipe: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("logs") / "worker.log", recipe)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def whole(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a break, and the seconds it took in `seconds`."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    begin = time.monotonic()
    assert worker.run(out) == 0, worker.said()
    (out.parent / "seconds").write_text(str(time.monotonic() - begin))
    return out


def assert_whole(
    out: Path, whole: Path, read: Callable[[Path], dict[str, object]] = contents
) -> None:
    """Every file is there, nothing else is, and all are those of the run without a break."""
    ours, wanted = read(out), read(whole)
    assert ours.keys() == wanted.keys()
    assert [name for name in ours if ours[name] != wanted[name]] == []
    assert {verdict.status for verdict in verify(out)} == {"ok"}


UNWRITTEN = ("drawing", "between shards")
"""Stages in which nothing is half-written."""


def stage(out: Path) -> str:
    """What a killed run was at, by what it left."""
    # Not by `rglob`: the folder of locks may go while it is looked into.
    for path in (*out.glob("*.tmp"), *out.glob("[ips]*/*.tmp")):
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            # Renamed meanwhile, by a run that is still alive.
            continue
        if path.parent.name not in ("images", "pairs"):
            return "plan, run.json, sheets or manifest.json"
        if ".json." in path.name:
            return "a sidecar or _info.json"
        return "a tar" if size else "drawing"
    if any(not tar.with_suffix(".json").exists() for tar in out.glob("[ip]*/*.tar")):
        return "between a tar and its sidecar"
    return "between shards"


def await_write(out: Path, seconds: float) -> None:
    """Wait, for so long at most, until some file of the run is being written."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and stage(out) in UNWRITTEN:
        pass


def assert_nothing_half(out: Path) -> None:
    """No temporary file, no index, and what there is of shards is whole."""
    assert list(out.rglob("*.tmp")) == []
    faults = {verdict.file: verdict.status for verdict in verify(out) if verdict.status != "ok"}
    assert faults == {"manifest.json": "missing"}


def await_shards(out: Path, count: int) -> None:
    """Wait until so many shards are there."""
    while len(list(out.glob("[ip]*/*-[0-9]*.json"))) < count:
        time.sleep(0.005)


def test_a_run_killed_forty_times_is_that_of_a_run_never_killed(
    worker: Worker, whole: Path, tmp_path: Path
) -> None:
    chance = np.random.default_rng(0)
    seconds = float((whole.parent / "seconds").read_text())
    hits: Counter[str] = Counter()
    lives, runs, out = 0, 0, tmp_path / "0"
    while hits.total() < KILLS or lives:
        (child,) = worker.start({"out": str(out), "part": "1/1"})
        # Short lives, so that it takes many; a little longer each, so that the last one finishes.
        time.sleep(chance.uniform(0, seconds * (0.05 + 0.005 * lives)))
        if lives % 2:
            # Writes are short: every second kill comes at some moment of the next one.
            await_write(out, seconds / 4)
            time.sleep(chance.uniform(0, 0.003))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        (status,) = worker.statuses()
        lives += 1
        if status == -signal.SIGKILL:
            hits[stage(out)] += 1
            continue
        assert status == 0, worker.said()
        assert_whole(out, whole)
        lives, runs = 0, runs + 1
        out = tmp_path / str(runs)
    print(f"{hits.total()} kills in {runs} runs: {dict(hits)}")
    assert hits.total() - sum(hits[stage] for stage in UNWRITTEN) >= 5, "few kills hit a write"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drops_the_shard_in_hand(
    worker: Worker, whole: Path, recipe: Path, number: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for shards in (2, 5):
        (child,) = worker.start({"command": ["augment", str(recipe), "--out", str(out)]})
        await_shards(out, shards)
        os.kill(child, number)
        assert worker.statuses() == [128 + number], worker.said()
        assert_nothing_half(out)
    assert worker.run(out) == 0, worker.said()
    assert_whole(out, whole)


def test_two_processes_on_the_same_part_share_it(
    worker: Worker, whole: Path, tmp_path: Path
) -> None:
    task = {"out": str(tmp_path / "run"), "part": "1/1"}
    worker.start(task, task)
    assert worker.statuses() == [0, 0], worker.said()
    assert_whole(tmp_path / "run", whole)


def test_one_of_two_processes_takes_over_from_the_one_that_is_killed(
    worker: Worker, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first, _ = worker.start(*[{"out": str(out), "part": "1/1"}] * 2)
    await_shards(out, 3)
    os.kill(first, signal.SIGKILL)
    assert worker.statuses() == [-signal.SIGKILL, 0], worker.said()
    assert_whole(out, whole)


def test_parts_in_any_order_and_at_once_are_one_run(
    worker: Worker, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert worker.run(out, "3/3") == 0, worker.said()
    assert not (out / "manifest.json").exists()
    worker.start(*({"out": str(out), "part": part} for part in ("2/3", "1/3")))
    assert worker.statuses() == [0, 0], worker.said()
    assert_whole(out, whole)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder for a run, and whether it is a file system of its own, of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = mount(folder, "-o", "size=1m")
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half(
    worker: Worker, whole: Path, recipe: Path, disk: tuple[Path, bool]
) -> None:
    folder, mounted = disk
    out = folder / "run"
    command = ["augment", str(recipe), "--out", str(out)]
    # Who may not mount is given files that cannot grow: the same error at the same call.
    largest = 1 if mounted else min(p.stat().st_size for p in whole.rglob("pairs/*.tar")) - 1
    worker.said()
    worker.start({"command": command} | ({} if mounted else {"largest": largest}))
    assert worker.statuses() == [1]
    full, large = (os.strerror(reason) for reason in (errno.ENOSPC, errno.EFBIG))
    end = (
        f"written: {full}; make room"
        if mounted
        else f"used: {large}; see to its rights and its drive"
    )
    end = f"cannot be {end}, and run the command again."
    assert f"{out}/" in (said := worker.said()) and said.endswith(f"{end}\n")
    assert_nothing_half(out)
    assert not mounted or mount(folder, "-o", "remount,size=64m")
    assert worker.run(out) == 0, worker.said()
    assert_whole(out, whole, told)


def test_a_read_only_target_is_one_sentence_and_a_finished_run_there_is_fine(
    worker: Worker, whole: Path, recipe: Path, disk: tuple[Path, bool]
) -> None:
    folder, mounted = disk
    out = folder / "run"
    command = {"command": ["augment", str(recipe), "--out", str(out)]}

    def writable(yes: bool) -> None:
        if mounted:
            assert mount(folder, "-o", f"remount,size=64m,{'rw' if yes else 'ro'}")
        else:
            for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
                path.chmod(0o700 if yes else 0o500)

    writable(True)
    assert worker.run(out, "1/2") == 0, worker.said()
    before = contents(out)
    writable(False)
    worker.said()
    worker.start(command)
    assert worker.statuses() == [1]
    reason = os.strerror(errno.EROFS if mounted else errno.EACCES)
    end = f"cannot be used: {reason}; see to its rights and its drive, and run the command again."
    assert f"{out}/" in (said := worker.said()) and said.endswith(f"{end}\n")
    assert contents(out) == before
    writable(True)
    assert worker.run(out) == 0, worker.said()
    writable(False)
    worker.start(command)
    assert worker.statuses() == [0], worker.said()
    assert_whole(out, whole, told)
    writable(True)


def test_killed_runs_into_a_store_end_like_one_without_a_break(
    worker: Worker, store: str, whole: Path
) -> None:
    out, rng, kills = f"{store}/killed", np.random.default_rng(7), 0
    seconds = float((whole.parent / "seconds").read_text())
    while True:
        (child,) = worker.start({"out": out, "part": "1/1"})
        deadline = time.monotonic() + rng.uniform(0, seconds / 2)
        if kills < 8:
            time.sleep(max(0.0, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        status = worker.statuses()[0]
        if status == 0:
            break
        assert status == -signal.SIGKILL, worker.said()
        kills += 1
        # What was begun and cut off is no object at all.
        names = [path.name for path in located(out).rglob("*")]
        assert not [name for name in names if name.endswith(".tmp")]
    assert kills >= 1
    assert_whole(located(out), whole, told)


def test_two_processes_into_one_place_of_a_store(worker: Worker, store: str, whole: Path) -> None:
    out = f"{store}/doubled"
    worker.start({"out": out, "part": "1/1"}, {"out": out, "part": "1/1"})
    assert worker.statuses() == [0, 0], worker.said()
    assert_whole(located(out), whole, told)
