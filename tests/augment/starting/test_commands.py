"""Tests of `didgen init` on a terminal: the licence is asked for there, and nowhere else."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from tests.fixtures.commands import Command
from tests.fixtures.pictures import noise, write_picture


def test_the_licence_is_asked_for_on_a_terminal_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def prompt(text: str, default: str) -> str:
        asked.append((text, default))
        return "CC0-1.0"

    for number in range(15):
        write_picture(tmp_path / "photos" / f"{number}.png", noise(number, 64, 64))
    monkeypatch.setattr(typer, "prompt", prompt)
    _, out, _ = command("init", tmp_path / "photos", "--dry-run")
    assert "--licence 'private, not to be shared'" in out and not asked
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    _, out, _ = command("init", tmp_path / "photos", "--licence", "MIT", "--dry-run")
    assert "--licence MIT" in out and not asked
    _, out, _ = command("init", tmp_path / "photos", "--dry-run")
    assert "--licence CC0-1.0" in out and asked[0][1] == "private, not to be shared"
    assert [file.name for file in tmp_path.iterdir()] == ["photos"]
