"""Tests of the command line: help, exit codes, one-sentence errors, nothing heavy too early."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from didgen import cli
from tests.fixtures.commands import Command


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command of a group by its words, groups too."""
    yield " ".join(above), group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*above, name))


EVERY = dict(commands(typer.main.get_command(cli.app)))
LEAVES = [name for name, one in EVERY.items() if not hasattr(one, "commands")]


@pytest.mark.parametrize("words", EVERY)
def test_every_command_has_help(words: str) -> None:
    result = CliRunner().invoke(cli.app, [*words.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize(
    "words", [name for name, one in EVERY.items() if not hasattr(one, "commands")]
)
def test_every_command_has_an_example_that_it_takes(words: str) -> None:
    """What stands behind `Example:` is a command line of this command, with options it has."""
    command = EVERY[words]
    example = " ".join(command.help.partition("Example: ")[2].split())
    assert example.startswith(f"didgen {words}")
    options = {option for one in command.params for option in one.opts}
    given = {word for word in example.split() if word.startswith("--")}
    assert given <= options
    needed = [one for one in command.params if one.param_type_name == "argument" and one.required]
    assert len(example.split()) >= 1 + len(words.split()) + len(needed)


def test_help_lists_the_commands_in_the_order_of_the_work() -> None:
    output = CliRunner().invoke(cli.app, ["--help"]).output
    words = re.findall(r"^│ ([a-z]+) +[A-Z]", output, re.M)
    assert words == [cli.name_of(member) for members in cli.GROUPS.values() for member in members]
    assert words[0] == "init" and words[-1] == "report" and len(words) > 12
    headings = [heading for heading in cli.GROUPS if f" {heading} " in output]
    assert headings == list(cli.GROUPS)


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(cli.app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"didgen {version('didgen')}\n")


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'pydantic', 'diffusers', 'transformers', 'PIL', 'yaml'}"
    code = f"import sys, didgen.cli; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_a_full_gpu_is_one_sentence(
    photographs: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr("didgen.augment.generation.run.augment", full)
    code, _, told = command("augment", "demo", "--out", str(photographs / "run"))
    assert code == 1
    assert re.search(
        "^Error: The GPU's memory is full; to go on, lower `sampling.batch", told, re.M
    )
    assert "Traceback" not in told


def test_bad_data_is_one_sentence_and_exit_1(tmp_path: Path, command: Command) -> None:
    for arguments in (
        ["import", "isic2018", str(tmp_path), "--out", str(tmp_path / "out")],
        ["caption", str(tmp_path)],
        ["verify", str(tmp_path)],
        ["report", str(tmp_path)],
        ["inspect", str(tmp_path)],
        ["finetune", "no-such-recipe", "--out", str(tmp_path / "out")],
    ):
        code, _, error = command(*arguments)
        assert code == 1, arguments
        assert "Error: " in error
        assert "Traceback" not in error
        assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from didgen.manifests.errors import DidgenError

    monkeypatch.setattr(sys, "argv", ["didgen", "--debug", "verify", str(tmp_path)])
    with pytest.raises(DidgenError):
        cli.main()


def test_a_full_disk_is_named_with_its_mend(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/mine")

    monkeypatch.setattr("didgen.manifests.runs.verify.verify", full)
    code, _, error = command("verify", str(tmp_path))
    assert code == 1
    assert error.endswith(
        "Error: runs/mine cannot be written: No space left on device; make room, and run the "
        "command again.\n"
    )


def test_wrong_usage_exits_2(command: Command) -> None:
    code, _, error = command("verify")
    assert code == 2
    assert "Usage:" in error


def test_an_interrupt_exits_130(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("didgen.manifests.runs.verify.verify", interrupted)
    code, _, _ = command("verify", str(tmp_path))
    assert code == 130
