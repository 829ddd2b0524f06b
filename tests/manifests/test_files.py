"""Tests of atomic writes, hashes and guarded paths."""

import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import (
    atomic_file,
    atomic_folder,
    clear,
    inside,
    kept_whole,
    leftovers,
    read_json,
    read_json_lines,
    sha256_of,
    write_bytes,
    write_json,
    write_json_lines,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_an_exception_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="cut"), atomic_file(path) as file:
        file.write(b"new, half")
        raise RuntimeError("cut")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_the_final_name_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.bin"
    with atomic_file(path) as file:
        file.write(b"x")
        assert not path.exists()
    assert path.read_bytes() == b"x"


@settings(deadline=None, max_examples=30)
@given(st.lists(JSON_VALUES, max_size=4))
def test_json_comes_back_as_written(rows: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        write_json_lines(path, rows)
        assert read_json_lines(path) == rows
        assert len(path.read_bytes().splitlines()) == len(rows)
        write_json(path, rows)
        assert read_json(path) == rows


def test_json_bytes_do_not_depend_on_key_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"x": 1, "y": "é"})
    write_json(tmp_path / "b", {"y": "é", "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "é" in (tmp_path / "a").read_text("utf-8")


@pytest.mark.parametrize("text", [b'{"a": 1, "a": 2}', b"", b"{", b"\xff", b"[" * 100_000])
def test_bad_json_is_one_sentence_naming_the_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(DidgenError, match=r"bad\.json is not readable JSON"):
        read_json(path)


def test_bad_json_lines_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n')
    with pytest.raises(DidgenError, match=r"rows\.jsonl line 2 is not JSON"):
        read_json_lines(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_json, read_json_lines):
        with pytest.raises(DidgenError, match=r"gone does not exist"):
            read(tmp_path / "gone")
    with pytest.raises(DidgenError, match="cannot be read"):
        read_json_lines(tmp_path)


def test_sha256_agrees_with_hashing_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "text", ["", ".", "..", "/etc/passwd", "../a", "a/../../b", "a/..", "..\\a", "a\0b"]
)
def test_paths_that_leave_are_refused(text: str) -> None:
    with pytest.raises(DidgenError, match="leaves its folder"):
        inside(Path("/data"), text)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="ab./\\\0 ", max_size=12))
def test_what_is_let_through_stays_below_the_root(text: str) -> None:
    try:
        path = inside(Path("/data/folder"), text)
    except DidgenError:
        return
    # A naive oracle: walk the parts and count the depth.
    depth = 0
    for part in PurePosixPath(text).parts:
        depth += -1 if part == ".." else 1
        assert depth > 0
    assert path.is_relative_to("/data/folder")


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out"
    # What a killed write left goes; what is the user's, another's or still being written stays.
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    host = socket.gethostname()
    others = ["out.tmp", "out.else-1-ab.tmp", f"out.x.{host}-{killed.pid}-ab.tmp"]
    others.append(f"out.{host}-{os.getpid()}-ab.tmp")
    for name in (f"out.{host}-{killed.pid}-ab.tmp", *others):
        (tmp_path / "deep" / name).mkdir(parents=True)
        (tmp_path / "deep" / name / "old").touch()
    with atomic_folder(path) as folder:
        (folder / "new").touch()
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["new"]
    assert {file.name for file in path.parent.iterdir()} == {"out", *others}
    assert all((path.parent / name / "old").exists() for name in others)


def test_an_exception_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "out") as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file", "link to nowhere"])
def test_a_folder_that_exists_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DidgenError, match="exists already"), atomic_folder(path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_two_writers_of_one_file_share_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic_file(path) as one, atomic_file(path) as other:
        one.write(b"one")
        other.write(b"another")
        assert len(leftovers(tmp_path)) == 2
    # The inner one is done first, so the outer one's bytes come last.
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_files_of_others_that_end_alike_are_no_leftovers(tmp_path: Path) -> None:
    for name in ("notes.tmp", "a.b.tmp", "run.json.host-1-ab.tmp"):
        (tmp_path / name).touch()
    for name in ("parquet.tmp", "parquet.host-1-ab.tmp"):
        (tmp_path / name).mkdir()
    assert [path.name for path in leftovers(tmp_path)] == ["run.json.host-1-ab.tmp"]


def test_clearing_takes_a_file_and_its_leftovers_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a", "a.host-1-ab.tmp", "ab", "ab.host-1-ab.tmp", "b.tmp"):
        (tmp_path / name).touch()
    clear(tmp_path / "a")
    clear(tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ab", "ab.host-1-ab.tmp", "b.tmp"]


def test_a_failed_write_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"a\.bin"), atomic_file(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_files_not_kept_whole_are_gone(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), kept_whole(tmp_path / "a", tmp_path / "b"):
        (tmp_path / "b").touch()
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_into_a_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="export"), atomic_folder(tmp_path / "export"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    # A reason in words stays: a store's errors have no number.
    with pytest.raises(OSError, match=r"^the token has expired$"), atomic_folder(tmp_path / "b"):
        raise PermissionError("the token has expired")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_synced_are_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(reason, os.strerror(reason))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(tmp_path / "a", b"a")
    with atomic_folder(tmp_path / "b") as folder:
        (folder / "c").write_bytes(b"c")
    assert (tmp_path / "a").read_bytes() == b"a" and (tmp_path / "b" / "c").read_bytes() == b"c"


def test_a_drive_that_cannot_be_synced_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        write_bytes(tmp_path / "a", b"a")
