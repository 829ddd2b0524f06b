"""Tests of the commands that judge data: quality, report."""

import shutil
from pathlib import Path

from tests.fixtures.commands import Command


def test_a_report_lies_in_its_folder_or_where_it_is_asked_for(
    run: Path, tmp_path: Path, command: Command
) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    code, printed, _ = command("report", str(own))
    assert code == 0
    assert printed == f"The report is {own / 'report.html'}.\n"
    page = (own / "report.html").read_bytes()
    assert page.startswith(b"<!doctype html>")
    both = [str(own), str(run)]
    code, _, error = command("report", *both)
    assert code == 2 and "--out" in error
    out = tmp_path / "new" / "both.html"
    code, printed, _ = command("report", *both, "--out", str(out))
    assert code == 0 and str(out) in printed
    assert out.read_text().count("<article") == 2


def test_quality_takes_a_recipe_and_an_option_counts_instead_of_its_field(
    source: Path, run: Path, tmp_path: Path, command: Command
) -> None:
    recipe = tmp_path / "quality.yaml"
    fields = f"kind: quality\nreal: {source}\nextractor: timm:mobilenetv3_small_050\n"
    recipe.write_text(f"{fields}weights: none\nsize: 32\nsynthetic: {run}\n")
    outcome = command("quality", recipe, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "extractor: timm:mobilenetv3_small_050" in outcome.out and "at 32 px" in outcome.out
    outcome = command("quality", recipe, "--size", "48", "--config", "pairs", "--dry-run")
    assert outcome.code == 0 and "at 48 px" in outcome.out and "images: 10" not in outcome.out

    assert command("quality", recipe).code == 2, "figures need a folder"
    outcome = command("quality", "--real", source, "--out", tmp_path / "out")
    assert outcome.code == 2 and "--synthetic" in outcome.sentence
    recipe.write_text(f"{fields}synthetic: {run}\nplanted: 0\n")
    outcome = command("quality", recipe, "--dry-run")
    assert outcome.code == 1 and "`planted` is 0, but it must be 1 or more" in outcome.err
    recipe.write_text("kind: classify\n")
    outcome = command("quality", recipe, "--dry-run")
    assert outcome.code == 1 and "Traceback" not in outcome.err
