"""Tests of the page of a study: its chapters, its files, and its part of a report."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from didgen.downstream.benchmark.recipe import SegmentRecipe
from didgen.downstream.benchmark.segmentation.benchmark import segment
from didgen.downstream.benchmark.segmentation.job import prepare_segmentation
from didgen.downstream.pages.document import Table, from_records, to_records
from didgen.downstream.report.blocks import Figure
from didgen.downstream.report.folders import parts_of
from didgen.downstream.report.page import render
from didgen.downstream.study.chapter import chapter
from didgen.downstream.study.graph import Stage
from didgen.downstream.study.hours import Estimate
from didgen.downstream.study.page import write_tables
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_json
from tests.fixtures.benchmarks import SMALL_NET
from tests.fixtures.page import Page


@pytest.fixture(scope="module")
def benchmark(
    segment_recipe: Callable[..., SegmentRecipe], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A benchmark of a use and a rival at two scales, tested."""
    asked = segment_recipe(
        networks=[SMALL_NET],
        real=[4, 8],
        seeds=[0, 1],
        epochs=1,
        arms=["original", "copy-paste", "didgen"],
    )
    return segment(prepare_segmentation(asked), tmp_path_factory.mktemp("page"))


def test_a_chapter_has_choice_verdicts_curves_and_figures_with_scopes(
    benchmark: dict[str, Any],
) -> None:
    one = chapter("masks", benchmark, [])
    parts = ("validation", "test")
    assert {*one.tables} == {
        *("masks", "masks-uses", "masks-gains"),
        *(f"masks-by-real-{part}" for part in parts),
    }
    judged = [c for c in benchmark["comparisons"] if c["judged"]]
    gains = one.tables["masks-gains"]
    assert len(gains.rows) == len(judged)
    column = gains.header.index("smallest gain")
    assert [row[column] for row in gains.rows] == [
        "-" if c["smallest_gain"] is None else f"{c['smallest_gain']:.3f}" for c in judged
    ]
    for name, table in one.tables.items():
        assert ("scope" in table.header) == (name not in ("masks-uses", "masks-gains"))
    assert [(c.network, c.part) for c in one.curves] == [("unet", part) for part in parts]
    assert from_records(to_records(one.blocks)) == one.blocks
    assert all(table in one.blocks for table in one.tables.values())


def test_a_study_is_a_page_a_record_and_a_part_of_the_report(
    benchmark: dict[str, Any], tmp_path: Path
) -> None:
    made = {
        name: Stage(name, "segment", None, (), "d", 1.0, tmp_path / "stages" / name)
        for name in ("masks", "waits")
    }
    write_json(made["masks"].out / "benchmark.json", benchmark)
    found = {"masks": Estimate(0.5, "done"), "waits": Estimate(1.0, "stated")}
    folder = tmp_path / "study" / "tables"
    write_tables(made, found, None, [folder], tmp_path / "state")
    page = (folder / "study.md").read_text()
    for picture in ("test-unet", "validation-unet"):
        assert f"](masks/plots/scarcity-{picture}.png)" in page
        assert (folder / "masks" / "plots" / f"scarcity-{picture}.png").is_file()
    told = [path.read_text() for path in folder.iterdir() if path.is_file()]
    assert len(told) > 4 and not any(str(tmp_path) in text for text in told)
    assert "Not done yet: waits." in page and "beats every rival" in page
    record = read_json(folder / "study.json")
    tables = [b for b in from_records(record["chapters"][0]["blocks"]) if isinstance(b, Table)]
    with open(folder / "masks-gains.csv", newline="") as file:
        assert [*csv.reader(file)][1:] in [[*map(list, table.rows)] for table in tables]
    (part,) = parts_of([folder])
    assert part.title == "Study: study"
    plots = [block for block in part.blocks if isinstance(block, Figure)]
    assert len(plots) == 2 and all(plot.narrow and plot.dark for plot in plots)
    text = Page(render(part.title, [part])).text
    assert "smallest gain" in text and "Not done yet: waits." in text
    write_json(folder / "study.json", {"chapters": [{"name": "masks"}]})
    with pytest.raises(DidgenError, match=r"study\.json is not what didgen writes there"):
        parts_of([folder])
