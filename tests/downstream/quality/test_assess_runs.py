"""Tests of several runs: each is assessed as by itself, and their figures stand side by side."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.downstream.quality.assess import assess, prepare_quality
from didgen.downstream.quality.assess_runs import assess_runs, prepare_runs
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.files import read_json

Make = Callable[..., QualityRecipe]


@pytest.fixture
def two(quality_recipe: Make, smooth_data: tuple[Path, Path], tmp_path: Path) -> dict[str, Path]:
    """A run, and a copy of it under another name."""
    shutil.copytree(smooth_data[1], tmp_path / "theirs")
    return {"ours": smooth_data[1], "theirs": tmp_path / "theirs"}


@pytest.mark.slow
def test_each_run_is_assessed_as_by_itself(
    quality_recipe: Make, two: dict[str, Path], tmp_path: Path
) -> None:
    alone = assess(prepare_quality(quality_recipe()), tmp_path / "alone")
    recipe = quality_recipe(synthetic=two["ours"], runs=two)
    records = assess_runs(prepare_runs(recipe), tmp_path / "out")
    assert list(records) == ["ours", "theirs"]
    for name, run in two.items():
        assert read_json(tmp_path / "out" / name / "quality.json")["synthetic"] == str(run)
        assert records[name]["figures"] == alone["figures"]
        assert records[name]["copies"] == alone["copies"]
    page = (tmp_path / "out" / "runs.md").read_text()
    assert "| figure | better | ours | theirs |" in page
    assert "| MS-SSIM to real | higher | " in page
    assert not (tmp_path / "out" / "quality.json").exists()


def test_one_run_has_no_page_of_several(quality_recipe: Make, tmp_path: Path) -> None:
    (record,) = assess_runs(prepare_runs(quality_recipe()), tmp_path).values()
    assert read_json(tmp_path / "quality.json") == json.loads(json.dumps(record))
    assert not (tmp_path / "runs.md").exists()
