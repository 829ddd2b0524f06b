"""Tests of progress: bars on a terminal, lines in a log, objects for a machine."""

import json

import pytest

from didgen.manifests import progress
from didgen.manifests.progress import progress_bar, rate_in_words, terminal_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by ten seconds whenever it is read."""
    times = [0.0]

    def read() -> float:
        times.append(times[-1] + 10)
        return times[-1]

    monkeypatch.setattr("didgen.manifests.progress.time.monotonic", read)
    return times


def test_a_bar_reaches_its_end_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal_progress("Hashing") as advance:
        for done in range(1, 4):
            advance(done, 3)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Hashing" in printed.err and "3/3" in printed.err


def test_a_log_gets_a_line_at_most_every_half_minute(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with terminal_progress("Hashing") as advance:
        for done in range(1, 11):
            advance(done, 10)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"Hashing: {done} of 10 ({done}0 %)" for done in (4, 7, 10)
    ]
    assert "/s" in lines[1] and "left" in lines[1]


def test_short_work_leaves_no_line_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal_progress("Hashing") as advance:
        advance(1, 1)
    assert capsys.readouterr() == ("", "")


def test_a_machine_is_told_of_the_first_and_the_last_item(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_as_json", False)
    progress.for_machines()
    with progress_bar() as bars:
        task = bars.add_task("images", total=3, state="loss 0.5")
        for _ in range(3):
            bars.advance(task)
    printed = capsys.readouterr()
    told = [json.loads(line) for line in printed.err.splitlines()]
    assert printed.out == ""
    assert [(one["task"], one["done"], one["total"]) for one in told] == [
        ("images", 1, 3),
        ("images", 3, 3),
    ]
    assert told[-1]["state"] == "loss 0.5"


def test_a_bar_is_silent_where_it_is_not_wanted(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with progress_bar(disable=True) as bar:
        task = bar.add_task("images", total=9, state="")
        for _ in range(9):
            bar.advance(task)
    assert capsys.readouterr() == ("", "")
    assert bar.tasks[0].completed == 9


@pytest.mark.parametrize(
    ("speed", "words"), [(None, ""), (2.5, "2.5/s"), (1234.0, "1,234.0/s"), (0.04, "25.0 s each")]
)
def test_a_rate_is_said_as_people_say_it(speed: float | None, words: str) -> None:
    assert rate_in_words(speed) == words


def test_work_that_fails_leaves_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError), terminal_progress("Hashing") as advance:
        advance(1, 3)
        raise ZeroDivisionError
