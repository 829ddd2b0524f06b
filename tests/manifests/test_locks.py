"""Tests of locks: one owner at a time, and none that is dead."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.locks import LOCKS, claimed
from didgen.manifests.runs.tidy import strays, tidy
from tests.fixtures.places import REPOSITORY

HOLD = """
with claimed(directory, "images-000000"):
    print("held", flush=True)
    sys.stdin.readline()
"""

NO_FLOCK = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.EOPNOTSUPP, "not supported")
fcntl.flock = flock
"""

COUNT = """
path = directory / "number"
for _ in range(25):
    with claimed(directory, "number"):
        path.write_text(str(int(path.read_text()) + 1))
"""


def another(directory: Path, code: str) -> subprocess.Popen[str]:
    """Run code in another process."""
    opening = "import sys, pathlib; from didgen.manifests.locks import claimed\n"
    opening += f"directory = pathlib.Path({str(directory)!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", opening + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock until a line comes."""
    with another(tmp_path, HOLD) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_has_one_owner_and_others_are_free(
    owner: subprocess.Popen[str], tmp_path: Path
) -> None:
    with claimed(tmp_path, "images-000000", wait=False) as ours:
        assert not ours
    with claimed(tmp_path, "images-000001", wait=False) as ours:
        assert ours
    owner.communicate("let go\n")
    assert owner.returncode == 0
    with claimed(tmp_path, "images-000000", wait=False) as ours:
        assert ours


def test_the_lock_of_a_killed_process_is_free(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    owner.kill()
    assert owner.wait() == -signal.SIGKILL
    assert (tmp_path / LOCKS / "images-000000.lock").exists()
    with claimed(tmp_path, "images-000000", wait=False) as ours:
        assert ours


def test_a_server_that_gives_no_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(DidgenError, match=r"run\.lock cannot be locked"), claimed(tmp_path, "run"):
        pass


def test_where_a_mount_has_no_locks_files_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with claimed(tmp_path, "run") as ours:
            assert ours
            with claimed(tmp_path, "run", wait=False) as another_one:
                assert not another_one
            with claimed(tmp_path, "images-000000", wait=False) as another_one:
                assert another_one
        assert list(tmp_path.iterdir()) == []

    # What a killed owner of this host left is taken over, and cleared away.
    with another(tmp_path, NO_FLOCK + HOLD) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        process.kill()
    assert [path.name for path in (tmp_path / LOCKS).iterdir()] == ["images-000000.owner"]
    tidy(tmp_path, strays(tmp_path, {}))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cut"), claimed(tmp_path, "run"):
        raise RuntimeError("cut")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run", f"run/{LOCKS}"])
def test_a_link_to_nowhere_is_told(tmp_path: Path, name: str) -> None:
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "not mounted")
    with pytest.raises(FileExistsError, match=name), claimed(tmp_path / "run", "a"):
        pass


def test_no_two_are_in_at_once_while_lock_files_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    processes = [another(tmp_path, COUNT) for _ in range(3)]
    for process in processes:
        with process:
            process.communicate()
            assert process.returncode == 0
    assert (tmp_path / "number").read_text() == "75"
