"""Tests of import, caption, mix and export that are killed, starved and doubled.

The same command then ends like one that nobody disturbed; what lies there meanwhile is not taken
for more than it is, and no temporary file stays. The module takes about a minute on two idle cores.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.runs.verify import verify
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.pictures import smooth, square, write_picture
from tests.fixtures.runs import contents
from tests.fixtures.worker import Worker, mount

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 10
PHOTOS = 12
CACHE = "captions.cache.jsonl"


@dataclass(frozen=True)
class Task:
    """A command into a folder: its words, what lies there before, and what may be read there."""

    words: Callable[[Path], list[str]]
    begin: Callable[[Path], object]
    check: Callable[[Path, Path], None]

    def order(self, out: Path) -> dict[str, object]:
        return {"command": self.words(out)}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("logs") / "worker.log")
    yield worker
    worker.close()


def photographs(root: Path) -> Path:
    """Photographs of two classes with masks and a table, one of them torn."""
    rows = ["image,label,lesion_id"]
    for number in range(PHOTOS):
        write_picture(root / "i" / f"p{number}.png", smooth(number, 96))
        write_picture(root / "m" / f"p{number}.png", square(96, 24, 72).astype(np.uint8) * 255)
        rows.append(f"p{number},{('MEL', 'NV')[number % 2]},L{number // 2}")
    (root / "i" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (root / "t.csv").write_text("\n".join([*rows, "torn,MEL,L9"]))
    return root


def nothing(out: Path) -> None:
    """Nothing lies there before."""


def check_import(out: Path, whole: Path) -> None:
    """A manifest that can be read is the whole one."""
    with suppress(DidgenError):
        assert SourceManifest.read(out) == SourceManifest.read(whole)


def check_caption(out: Path, whole: Path) -> None:
    """The source is there at all times, each caption as it is to be or not yet."""
    wanted = {record.key: record for record in SourceManifest.read(whole).records}
    for record in SourceManifest.read(out).records:
        if record.caption:
            assert record == wanted[record.key]


def check_mix(out: Path, whole: Path) -> None:
    """No shard is other than it was planned."""
    if (out / "run.json").exists():
        assert {verdict.status for verdict in verify(out)} <= {"ok", "missing", "torn"}


def check_export(out: Path, whole: Path) -> None:
    """An export is not there, or whole."""
    assert not out.exists() or files(out) == files(whole)


@pytest.fixture(scope="module")
def tasks(
    worker: Worker, source: Path, run: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Task]:
    """The commands, with what they need."""
    root = tmp_path_factory.mktemp("tasks")
    photos = photographs(root / "photos")
    words = ["import", "folder", str(photos / "i"), "--masks", str(photos / "m")]
    words += ["--labels", str(photos / "t.csv"), "--licence", "own", "--out"]
    mixing = ["mix", str(source), str(run), "--ratio", "1", "--shard-size", "4", "--out"]
    for command, name in ((words, "source"), (mixing, "mix")):
        worker.start({"command": [*command, str(root / name)]})
        assert worker.statuses() == [0], worker.said()

    def exporting(to: str) -> Callable[[Path], list[str]]:
        return lambda out: ["export", str(root / "mix"), "--to", to, "--out", str(out)]

    return {
        "import": Task(lambda out: [*words, str(out)], nothing, check_import),
        "caption": Task(
            lambda out: ["caption", str(out)],
            lambda out: shutil.copytree(root / "source", out),
            check_caption,
        ),
        "mix": Task(lambda out: [*mixing, str(out)], nothing, check_mix),
        "imagefolder": Task(exporting("imagefolder"), nothing, check_export),
        "parquet": Task(exporting("parquet"), nothing, check_export),
    }


EXPORTS = ("imagefolder", "parquet")
NAMES = ("import", "caption", "mix", *EXPORTS)


def files(out: Path) -> dict[str, object]:
    """Every file there, but for what tells of its place, and the cache, which may be deleted.

    A mix names its source and its run by the way there from its own folder.
    """
    found = contents(out)
    found.pop(CACHE, None)
    if (out / "run.json").exists():
        del found["README.md"]
        for name in ("run.json", "manifest.json"):
            record = json.loads((out / name).read_bytes())
            found[name] = {n: v for n, v in record.items() if n not in ("recipe", "documents")}
    return found


def assert_whole(out: Path, whole: Path) -> None:
    """All files are those of the command that nobody disturbed, and nothing else lies around."""
    ours, wanted = files(out), files(whole)
    assert ours.keys() == wanted.keys()
    assert [name for name in ours if ours[name] != wanted[name]] == []
    assert [path for path in out.parent.rglob("*") if path.name.endswith((".tmp", ".lock"))] == []


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
        if kills < KILLS:
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
        if kills >= KILLS or runs > 3 * KILLS:
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
    if name in EXPORTS and sorted(statuses) == [0, 1]:
        assert f"Error: {out} exists already" in worker.said()
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
    """A folder that is a file system of its own, of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount(folder, "-o", "size=1m"):
        pytest.skip("this user may not mount")
    yield folder
    assert mount(folder, "-o", "remount,size=64m,rw")
    os.system(f"umount {folder}")  # noqa: S605 - a path of this test


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
    # Room for a part of what is to be written, by blocks of 4 KiB.
    written = sum(p.stat().st_size // 4096 + 1 for p in whole.rglob("*") if p.is_file())
    there = sum(p.stat().st_size // 4096 + 1 for p in disk.rglob("*") if p.is_file())
    (disk / "room").write_bytes(bytes(4096 * (256 - there - max(1, (written - there) // 2))))
    worker.said()
    worker.start(tasks[name].order(out))
    assert worker.statuses() == [1]
    said = worker.said()
    assert "No space left on device; make room" in said and "Traceback" not in said
    assert [path for path in disk.rglob("*") if path.name.endswith(".tmp")] == []
    tasks[name].check(out, whole)
    assert mount(disk, "-o", "remount,size=64m")
    (disk / "room").unlink()
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
        # A mix takes its lock, for another might be writing.
        assert worker.statuses() == [0 if name == "caption" else 1], worker.said()


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
