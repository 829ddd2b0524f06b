"""Tests of run sheets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from didgen.augment.generation.prepare import GenerationJob
from didgen.augment.generation.run_sheets import _images_sheet
from didgen.manifests.shards.shard import Sample, iterate


def test_contact_sheets_are_pictures(finished: Path) -> None:
    for name in ("images.png", "pairs.png"):
        with Image.open(finished / "sheets" / name) as sheet:
            assert min(sheet.size) > 256


def test_the_sheet_of_images_reads_no_more_shards_than_it_shows(
    job: GenerationJob, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def reading(out: Path, config: str) -> Iterator[Sample]:
        for sample in iterate(out, config):  # type: ignore[arg-type]
            read.append(sample.key)
            yield sample

    monkeypatch.setattr("didgen.augment.generation.run_sheets.iterate", reading)
    whole = _images_sheet(job, finished)
    assert whole is not None and len(read) == 4
    read.clear()
    monkeypatch.setattr("didgen.augment.generation.run_sheets.SHEET_IMAGES", 1)
    sheet = _images_sheet(job, finished)
    assert sheet is not None and sheet.width < whole.width
    assert read == ["MEL-000000", "BCC-000000"]
