"""Tests of the page of an assessment."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from didgen.downstream.pages.document import markdown
from didgen.downstream.pages.quality import quality_page
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.files import read_json


def test_images_that_the_model_saw_and_the_source_lacks_are_told(
    assessed: tuple[Path, Path], quality_recipe: Callable[..., QualityRecipe], tmp_path: Path
) -> None:
    copies = read_json(assessed[0] / "quality.json")["copies"]
    assert copies["trained_on"] == {"images": 73, "beyond": 1}
    page = " ".join((assessed[0] / "quality.md").read_text().split())
    assert "Of 73 images that the model is known to be trained on, 1 are not in the" in page
    untold = copies | {"trained_on": {"images": 0, "beyond": 0}}
    record = read_json(assessed[0] / "quality.json") | {"copies": untold}
    assert "What the model was trained on is not recorded" in markdown(quality_page(record))
    whole = copies | {"trained_on": {"images": 72, "beyond": 0}}
    record = read_json(assessed[0] / "quality.json") | {"copies": whole}
    assert "all are in the source's training split" in markdown(quality_page(record))


def test_the_page_and_the_sheet_are_there(assessed: tuple[Path, Path]) -> None:
    page = (assessed[0] / "quality.md").read_text()
    assert "| FID |" in page and "| mirrored | 100.0 %" in page
    assert "the floor is what train images get" in page
    assert "didgen weights lpips" in page
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    with Image.open(assessed[0] / "copies.png") as sheet:
        assert sheet.format == "PNG"
    assert {path.name for path in assessed[0].iterdir()} == {
        "quality.json",
        "quality.md",
        "copies.jsonl",
        "copies.png",
        "resume.json",
    }
