"""Tests of the log: no line is lost, by a crash, by two at once or by a full disk."""

import errno
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.errors import DidgenError
from didgen.manifests.reviews import log as module
from didgen.manifests.reviews.log import ReviewLog
from didgen.manifests.reviews.record import Guess, Review


def review(key: str, **fields: Any) -> Review:
    given = {"reviewer": "Ada", "config": "images", "sha256": "a" * 64, "verdict": "accepted"}
    return Review(key=key, **given | fields)


def keys(folder: Path) -> list[str]:
    return [one.key for one in ReviewLog(folder).reviews()]


def test_what_was_appended_is_read_by_others(tmp_path: Path) -> None:
    log, other = ReviewLog(tmp_path), ReviewLog(tmp_path)
    assert log.reviews() == [] and log.guesses() == []
    first = review("a", note="größer\n")
    log.append(first)
    assert other.reviews() == [first]
    guess = Guess(
        reviewer="B", config="images", key="x", test="t", place=0, origin="real", said="real"
    )
    other.append(guess)
    log.append(review("b"))
    assert [one.key for one in log.reviews()] == ["a", "b"]
    assert log.guesses() == other.guesses() == [guess]
    assert len((tmp_path / "reviews.jsonl").read_bytes().splitlines()) == 3
    assert not (tmp_path / ".locks").exists()


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 400))
def test_a_torn_line_is_passed_by_and_then_cut_off(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    log = ReviewLog(folder)
    for key in "ab":
        log.append(review(key))
    data = log.path.read_bytes()
    kept = data[: min(cut, len(data))]
    log.path.write_bytes(kept)
    whole = ["a", "b"][: kept.count(b"\n")]
    assert keys(folder) == whole
    log.append(review("c"))
    assert keys(folder) == [*whole, "c"]


def test_a_long_torn_line_is_cut_off(tmp_path: Path) -> None:
    log = ReviewLog(tmp_path)
    log.append(review("a"))
    with log.path.open("ab") as file:
        file.write(b"{" + b"x" * 20_000)
    log.append(review("b"))
    assert keys(tmp_path) == ["a", "b"]


def test_a_log_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    log = ReviewLog(tmp_path)
    for key in "abc":
        log.append(review(key))
    assert len(log.reviews()) == 3
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(lines[2])
    assert [one.key for one in log.reviews()] == ["c"]
    log.path.unlink()
    assert log.reviews() == []


def test_a_line_that_is_no_review_is_named(tmp_path: Path) -> None:
    log = ReviewLog(tmp_path)
    log.append(review("a"))
    with log.path.open("ab") as file:
        file.write(b'{"kind": "review", "key": 1}\n')
    with pytest.raises(DidgenError, match=r"reviews\.jsonl line 2 is no review \(reviewer: Field"):
        log.reviews()


def _append(folder: Path, name: str, count: int) -> None:
    log = ReviewLog(folder)
    for number in range(count):
        log.append(review(f"{name}-{number}", note="n" * 400))


def test_two_processes_and_two_threads_lose_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_append, args=(tmp_path, f"process{n}", 12)) for n in range(2)
    ]
    threads = [
        threading.Thread(target=_append, args=(tmp_path, f"thread{n}", 12)) for n in range(2)
    ]
    both: list[Any] = [*workers, *threads]
    for worker in both:
        worker.start()
    for worker in both:
        worker.join()
    found = keys(tmp_path)
    assert len(found) == 48 == len({*found})
    for name in ("process0", "process1", "thread0", "thread1"):
        mine = [key for key in found if key.startswith(f"{name}-")]
        assert mine == [f"{name}-{number}" for number in range(12)]


def test_a_full_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ReviewLog(tmp_path)
    log.append(review("a"))
    before = log.path.read_bytes()

    def full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(OSError, match=r"No space left.*reviews\.jsonl"):
        log.append(review("b"))
    assert log.path.read_bytes() == before
    assert keys(tmp_path) == ["a"]


def test_threads_that_read_at_once_see_each_line_once(tmp_path: Path) -> None:
    _append(tmp_path, "a", 30)
    log, found = ReviewLog(tmp_path), []
    threads = [threading.Thread(target=lambda: found.append(len(log.reviews()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [30] * 8
