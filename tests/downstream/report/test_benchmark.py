"""Tests of the part of a benchmark."""

from pathlib import Path

import pytest

from didgen.downstream.pages.arms import SEEN
from didgen.downstream.pages.document import Heading
from didgen.downstream.report.benchmark import benchmark_part
from didgen.downstream.report.blocks import Figure, Fold, Notice
from didgen.downstream.report.page import render
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_json
from tests.fixtures.benchmarks import OLDER
from tests.fixtures.page import Page


@pytest.mark.parametrize(
    ("name", "title"), [("classify", "Classification: "), ("segment", "Segmentation: ")]
)
def test_its_page_is_there_with_plots_before_its_tables(study: Path, name: str, title: str) -> None:
    part = benchmark_part(study / name)
    assert part.title == f"{title}{name}" and part.place == str(study / name)
    headings = [block.text for block in part.blocks if isinstance(block, Heading)]
    assert (headings[0], headings[-1]) == ("What it was done with", "What was asked")
    recipe = read_json(study / name / "benchmark.json")["recipe"]
    assert {Path(recipe["source"]), *map(Path, recipe["runs"].values())} == {*part.uses}
    assert "Does the augmentation help?" in headings
    assert any(isinstance(block, Figure) for block in part.blocks)
    assert any(isinstance(block, Fold) for block in part.blocks)


@pytest.mark.parametrize("kind", ["classify", "segment"])
def test_an_older_one_is_shown_as_having_seen_the_test_images(kind: str, tmp_path: Path) -> None:
    write_json(tmp_path / "benchmark.json", read_json(OLDER / f"{kind}.json"))
    part = benchmark_part(tmp_path)
    page = Page(render("An older benchmark", [part]))
    assert SEEN in page.text
    assert "after Holm" in page.text


def test_one_that_is_not_finished_has_its_curves(own_study: Path) -> None:
    (own_study / "classify" / "benchmark.json").unlink()
    notice, *curves = benchmark_part(own_study / "classify").blocks
    assert isinstance(notice, Notice) and "is not finished" in notice.text
    assert any(isinstance(block, Figure) for block in curves)


@pytest.mark.parametrize("change", [{"kind": "other"}, {"recipe": None}, {"arms": 3}])
def test_a_record_of_another_form_is_named(own_study: Path, change: dict[str, object]) -> None:
    path = own_study / "classify" / "benchmark.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(DidgenError, match=r"benchmark\.json is not what didgen writes there"):
        benchmark_part(own_study / "classify")


def test_a_picture_from_elsewhere_is_refused(own_study: Path) -> None:
    path = own_study / "segment" / "benchmark.json"
    record = read_json(path)
    record["plots"][0]["file"] = "../../secret.png"
    write_json(path, record)
    with pytest.raises(DidgenError):
        benchmark_part(own_study / "segment")
