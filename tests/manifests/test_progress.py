"""Tests of progress on a terminal."""

import pytest

from didgen.manifests.progress import terminal_progress


def test_a_bar_reaches_its_end_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal_progress("Hashing") as advance:
        for done in range(1, 4):
            advance(done, 3)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Hashing" in printed.err and "100%" in printed.err


def test_work_that_fails_leaves_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError), terminal_progress("Hashing") as advance:
        advance(1, 3)
        raise ZeroDivisionError
