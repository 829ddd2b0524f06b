"""Tests of the part of a run."""

from collections.abc import Callable
from pathlib import Path

from didgen.downstream.pages.document import Heading, Listing, Paragraph, Table
from didgen.downstream.report.blocks import Fold, Way
from didgen.downstream.report.page import report
from didgen.downstream.report.run import counted, reviews, run_part
from didgen.manifests.files import read_json
from didgen.manifests.reviews.log import ReviewLog
from didgen.manifests.reviews.record import Review
from didgen.manifests.shards.index import read_manifest
from didgen.manifests.shards.shard import read_sidecars
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.contents import run_contents
from tests.fixtures.page import Page


def test_the_balance_is_that_of_the_source(study: Path, source: Path, tmp_path: Path) -> None:
    page = Page(report([study / "made" / "run"], tmp_path / "report.html").read_text())
    train = SourceManifest.read(source).select(split="train", labelled=True)
    named = {"MEL": "melanoma", "BCC": "basal cell carcinoma", "NV": "melanocytic nevus"}
    for label, made in (("MEL", 5), ("BCC", 5), ("NV", 0)):
        real = sum(record.label == label for record in train)
        bars = next(str(a["alt"]) for a in page.all("img") if "Bars of images" in str(a["alt"]))
        assert f"{named[label]} {real} real and {made} synthetic" in bars
    record = read_json(study / "made" / "run" / "manifest.json")
    assert record["totals"]["samples"] == 16


def test_a_run_without_its_source_shows_what_was_made(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", recipe={"kind": "augment", "source": str(tmp_path / "gone")})
    text = Page(report([run], tmp_path / "report.html").read_text()).text
    assert "Only what was made is shown. The source of real images cannot be read here" in text


def test_pictures_come_first_and_settings_last(study: Path) -> None:
    part = run_part(study / "made" / "run")
    headings = [b.text for b in part.blocks if isinstance(b, Heading) and b.level == 2]
    assert headings[:2] == ["The way from real images to shards", "Images by class"]
    assert headings[-1] == "What was asked"
    assert [type(block) for block in part.blocks[-2:]] == [Heading, Fold]
    (way,) = [block for block in part.blocks if isinstance(block, Way)]
    stations = dict(way.stations)
    assert stations["Shards"].startswith("10 images, 6 pairs in ")
    tries = int(stations["Drawn"].split()[0])
    assert tries == 16 + int(stations["Gates"].split()[0])


def test_what_reviewers_say_is_there(own_study: Path) -> None:
    run = own_study / "made" / "run"
    assert not list(reviews(run_contents(run)))
    manifest = read_manifest(run)
    keys = [*read_sidecars(run, "images")[0].kept]
    shard = manifest.configs["images"][0].sha256
    log = ReviewLog(run)
    for name, verdicts in (("ann", "aar"), ("bo", "ara")):
        for key, verdict in zip(keys, verdicts, strict=False):
            said = {"a": ("accepted", None), "r": ("rejected", "blurred")}[verdict]
            log.append(
                Review(
                    reviewer=name,
                    config="images",
                    key=key,
                    sha256=shard,
                    verdict=said[0],
                    reason=said[1],
                )
            )
    _, table, why, agreed = reviews(run_contents(run))
    assert isinstance(table, Table) and table.rows == [["images", "1", "0", "2"]]
    assert isinstance(why, Paragraph) and why.text == "Reasons: blurred 2"
    assert isinstance(agreed, Listing) and "Cohen's kappa of ann, bo" in agreed.items[0]


def test_numbers_have_their_noun() -> None:
    assert [counted(n, "shard") for n in (0, 1, 2000)] == ["0 shards", "1 shard", "2,000 shards"]
    assert [counted(n, "try", "tries") for n in (1, 2)] == ["1 try", "2 tries"]
