"""Tests of growth: stages in processes of their own, and a generator that draws nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.growth import (
    CLASSES,
    REAL,
    SIDE,
    Figures,
    FixedImage,
    Place,
    Watch,
    main,
    results,
    table,
    write_source,
)
from didgen.augment.device import choose_device
from didgen.augment.methods.generator import Planned
from didgen.manifests.images import read_image
from didgen.manifests.shards.shard import Failure
from didgen.manifests.sources.records import SourceManifest


def test_each_stage_is_measured_at_each_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "growth"
    main(["--samples", "30", "3", "--out", str(out), "--stages", "finish", "write"])
    lines = [json.loads(line) for line in (out / "growth.jsonl").read_text().splitlines()]
    assert [(line["samples"], line["stage"]) for line in lines] == [
        (3, "write"),
        (3, "finish"),
        (30, "write"),
        (30, "finish"),
    ]
    assert all(line["peak"] >= line["base"] > 10 and line["cpu"] > 0 for line in lines)
    assert all(line["first"] > 0 for line in lines if line["stage"] == "write")
    assert (out / "growth.md").read_text() in capsys.readouterr().out
    # The runs themselves are gone.
    assert not list(out.rglob("*.tar"))


def test_a_ratio_is_to_the_size_before() -> None:
    sizes = ((10, 1.0), (100, 12.0), (1000, 60.0))
    text = table([Figures("verify", count, cpu, 1, None, 50, 40) for count, cpu in sizes[::-1]])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    assert [row[:4] for row in rows] == [
        ["verify", "10", "100,000", ""],
        ["verify", "100", "120,000", "1.20"],
        ["verify", "1,000", "60,000", "0.50"],
    ]


@pytest.mark.slow
def test_a_part_is_told_by_what_it_took_in_hand(tmp_path: Path) -> None:
    out = tmp_path / "growth"
    main(["--samples", "600", "--out", str(out), "--stages", "augment-part"])
    part = json.loads((out / "growth.jsonl").read_text())
    # The first of the two shards of images.
    assert part["taken"] == 256
    assert Figures(**part).each == part["cpu"] / 256 * 1e6


def test_samples_are_about_a_kilobyte_and_some_fail(tmp_path: Path) -> None:
    place = Place(tmp_path, 600)
    for config in ("images", "pairs"):
        made = list(results(place, config, 0))
        failed = [one for one in made if isinstance(one, Failure)]
        assert len(made) == 256 and len(failed) == 3
        kept = [one for one in made if not isinstance(one, Failure)]
        sizes = [sum(map(len, one.members.values())) for one in kept]
        assert 800 < min(sizes) <= max(sizes) < 1600
    assert sum(1 for _ in results(place, "pairs", 1)) == 300 - 256


def test_the_source_has_images_that_differ(tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    manifest = SourceManifest.read(tmp_path / "source")
    assert len({record.sha256 for record in manifest.records}) == REAL
    assert {record.label for record in manifest.select(split="train")} == {*CLASSES}
    assert read_image(manifest.image_path(manifest.records[0])).size == (SIDE, SIDE)


def test_the_fixed_image_is_that_of_any_seed() -> None:
    watch = Watch(0)
    generator, device = FixedImage(watch), choose_device(None)
    planned = [Planned("images", f"k-{n}", "MEL", n, n, "a prompt", "") for n in range(3)]
    drawing = generator.draw(planned, [1, 2, 3], None, device)
    assert watch.first is not None
    assert drawing.images.shape == (3, SIDE, SIDE, 3) and drawing.masks is None
    np.testing.assert_array_equal(drawing.images[0], drawing.images[2])
    layouts = np.eye(32, dtype=bool)[None]
    guided = generator.draw(planned[:1], [1], layouts, device)
    assert guided.images.shape == (1, 32, 32, 3) and guided.masks is layouts
