"""Tests of what a long run shows a person."""

import pytest

from didgen.augment.console import decisions


def test_decisions_stand_on_stderr_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    decisions({"device": "cpu, float32, because there is no GPU", "workers": "2"})
    printed = capsys.readouterr()
    assert printed.out == ""
    text = " ".join(printed.err.split())
    assert text == "device: cpu, float32, because there is no GPU workers: 2"
