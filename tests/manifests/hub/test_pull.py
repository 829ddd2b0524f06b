"""Tests of pulls from a hub on this machine."""

from pathlib import Path

import pytest

from tests.fixtures.commands import Command
from tests.fixtures.hub import Hub, Repository

# The hub's client hands bytes to its own in a way that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning")

NAME = "me/dermoscopy"


@pytest.fixture
def filled(hub: Hub) -> Hub:
    """A hub with a data set of three files, one of which would run."""
    files = {
        "README.md": b"---\nlicense: mit\n---\n# A set\n",
        "images/train-00000-of-00001.parquet": b"PAR1" * 1000,
        "loader.py": b"import os",
        "weights.BIN": b"pickle",
    }
    hub.repositories["dataset", NAME] = Repository(True, files, 1)
    return hub


def test_what_was_pushed_comes_back(run: Path, hub: Hub, tmp_path: Path, command: Command) -> None:
    assert command("push", run, NAME).code == 0
    outcome = command("pull", NAME, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    there = hub.repositories["dataset", NAME].files
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }
    assert found == there


def test_what_could_run_is_left_out_and_named(
    filled: Hub, tmp_path: Path, command: Command
) -> None:
    outcome = command("pull", NAME, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "2 files were left out, which could run code; the first: loader.py" in outcome.out
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert not {"loader.py", "weights.BIN"} & names


def test_a_pull_goes_on_and_fetches_nothing_twice(
    filled: Hub, tmp_path: Path, command: Command
) -> None:
    asked = ["pull", NAME, "--out", tmp_path / "out"]
    assert command(*asked).code == 0
    (tmp_path / "out" / "README.md").unlink()
    filled.asked.clear()
    assert command(*asked).code == 0
    fetched = [one for one in filled.asked if one.startswith("GET /datasets")]
    assert fetched == [one for one in fetched if one.endswith("/README.md")]
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_folder_with_other_files_is_left_alone(
    filled: Hub, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    outcome = command("pull", NAME, "--out", tmp_path / "out")
    assert outcome.code == 1 and "holds other files" in outcome.err
    assert filled.asked == []


def test_a_file_that_would_leave_its_folder_is_refused(
    filled: Hub, tmp_path: Path, command: Command
) -> None:
    filled.repositories["dataset", NAME].files["../evil.parquet"] = b"x"
    outcome = command("pull", NAME, "--out", tmp_path / "out")
    assert outcome.code == 1 and "leaves its folder" in outcome.err
    assert not (tmp_path / "evil.parquet").exists() and not (tmp_path / "out").exists()


def test_what_is_not_there_is_a_sentence(filled: Hub, tmp_path: Path, command: Command) -> None:
    def fault(*asked: object) -> str:
        outcome = command("pull", *asked, "--out", tmp_path / "out")
        assert outcome.code == 1 and "Traceback" not in outcome.err
        return outcome.err.splitlines()[-1]

    assert "there is no such repository, or your token may not see it" in fault("me/nothing")
    assert "there is no such repository" in fault(NAME, "--model")
    assert "no such revision" in fault(NAME, "--revision", "v9")
