"""Tests of what a long run shows a person."""

import pytest

from didgen.augment.console import decisions, progress_bar


def test_decisions_stand_on_stderr_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    decisions({"device": "cpu, float32, because there is no GPU", "workers": "2"})
    printed = capsys.readouterr()
    assert printed.out == ""
    text = " ".join(printed.err.split())
    assert text == "device: cpu, float32, because there is no GPU workers: 2"


def test_a_bar_is_silent_where_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(disable=True) as bar:
        task = bar.add_task("images", total=3, state="")
        bar.advance(task)
    assert capsys.readouterr() == ("", "")
    assert bar.tasks[0].completed == 1
