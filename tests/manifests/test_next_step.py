"""Tests of the next step: what is said at the end of a command, fit to be pasted."""

import shlex
from pathlib import Path

import pytest

from didgen.manifests.next_step import sentence, then, to_open
from tests.fixtures.commands import Command


def test_a_step_is_quoted_for_the_shell() -> None:
    said = sentence(then("verify", Path("runs/a run; rm x")))
    assert said is not None and said.startswith("Next: didgen verify '")
    assert shlex.split(said)[1:] == ["didgen", "verify", "runs/a run; rm x"]
    assert sentence(None) is None and sentence(None, ["verify", "runs/mine"]) is None


def test_a_dry_run_is_followed_by_itself() -> None:
    given = ["mix", "a b", "--dry-run", "--out", "c"]
    assert sentence(None, given) == "Next: didgen mix 'a b' --out c"
    assert sentence(then("verify", "x"), given) == "Next: didgen verify x"


def test_a_page_is_opened_by_its_address(tmp_path: Path) -> None:
    *words, address = to_open(tmp_path / "a page.html")
    assert words == ["python", "-m", "webbrowser", "-t"]
    assert address == (tmp_path / "a page.html").as_uri()


def test_the_step_is_said_beside_the_output_and_not_after_a_fault(
    command: Command, tmp_path: Path
) -> None:
    code, out, err = command("augment", "demo", "--dry-run")
    assert code == 0, err
    assert out.startswith("kind: augment\n") and "Next:" not in out
    assert err == "Next: didgen augment demo --out runs/demo\n"
    code, out, err = command("verify", tmp_path)
    assert code == 1 and "Next:" not in out + err


@pytest.mark.parametrize("recipe", ["demo", "mini-own-samples"])
def test_steps_of_recipes_are_commands_that_exist(command: Command, recipe: str) -> None:
    _, _, err = command("recipes", recipe)
    assert err == f"Next: didgen augment {recipe} --out runs/{recipe}\n"
