"""Tests of errors: a fault of the user is one sentence, any other is none."""

import errno
import os

import pytest

from didgen.manifests.errors import DidgenError, in_short, sentence_of


def test_what_a_library_says_becomes_one_line_without_a_full_stop() -> None:
    assert in_short(ValueError("two\n  lines.")) == "two lines"
    assert in_short(ValueError("x" * 300)) == "x" * 200
    assert in_short(ValueError("abc"), 2) == "ab"


def test_our_own_error_is_its_sentence() -> None:
    assert sentence_of(DidgenError("a is no b; give a c.")) == "a is no b; give a c."


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_drive_asks_for_room(reason: int) -> None:
    told = sentence_of(OSError(reason, os.strerror(reason), "/data/run/plan.jsonl"))
    assert told is not None and told.startswith("/data/run/plan.jsonl cannot be written: ")
    assert told.endswith("make room, and run the command again.")


def test_a_closed_file_is_named_with_what_to_see_to() -> None:
    told = sentence_of(OSError(errno.EACCES, os.strerror(errno.EACCES), "/data/run"))
    assert told == (
        "/data/run cannot be used: Permission denied; see to its rights and its drive, and run the "
        "command again."
    )


def test_a_fault_without_a_file_speaks_of_no_drive() -> None:
    assert sentence_of(ConnectionResetError("reset by peer")) == (
        "A file cannot be used: reset by peer."
    )


def test_a_full_gpu_says_what_to_lower() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch calls it."""

    told = sentence_of(OutOfMemoryError("CUDA out of memory"))
    assert told is not None and "lower `sampling.batch_size`" in told and "CUDA" not in told


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RuntimeError("x")])
def test_a_fault_of_ours_has_no_sentence(error: Exception) -> None:
    assert sentence_of(error) is None
