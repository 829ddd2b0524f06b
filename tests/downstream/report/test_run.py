"""Tests of the part of a run."""

from collections.abc import Callable
from pathlib import Path

from didgen.downstream.report.page import report
from didgen.manifests.files import read_json
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.page import Page


def test_the_balance_is_that_of_the_source(study: Path, source: Path, tmp_path: Path) -> None:
    page = Page(report([study / "made" / "run"], tmp_path / "report.html").read_text())
    train = SourceManifest.read(source).select(split="train", labelled=True)
    for label, made in (("MEL", 5), ("BCC", 5), ("NV", 0)):
        real = sum(record.label == label for record in train)
        bars = next(str(a["alt"]) for a in page.all("img") if "Bars of images" in str(a["alt"]))
        assert f"{label} {real} real and {made} synthetic" in bars
    record = read_json(study / "made" / "run" / "manifest.json")
    assert record["totals"]["samples"] == 16


def test_a_run_without_its_source_shows_what_was_made(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", recipe={"kind": "augment", "source": str(tmp_path / "gone")})
    text = Page(report([run], tmp_path / "report.html").read_text()).text
    assert "Only what was made is shown. The source of real images cannot be read here" in text
