"""Tests of the page of several assessments."""

from pathlib import Path

from didgen.downstream.pages.document import Table
from didgen.downstream.pages.quality_runs import quality_runs_page
from didgen.manifests.files import read_json


def test_a_figure_that_a_run_lacks_is_a_dash(assessed: tuple[Path, Path]) -> None:
    record = read_json(assessed[0] / "quality.json")
    fewer = record | {"figures": [f for f in record["figures"] if f["figure"] != "ms_ssim"]}
    tables = [
        block for block in quality_runs_page({"a": record, "b": fewer}) if isinstance(block, Table)
    ]
    rows = {row[0]: row for table in tables for row in table.rows}
    assert rows["MS-SSIM to real"][3] == "-"
    assert rows["MS-SSIM to real"][2].count(" / ") == 1
    assert rows["a"] == ["a", *rows["b"][1:]]
