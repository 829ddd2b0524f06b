"""Tests of chats: what a model is shown of an image."""

from pathlib import Path

from PIL import Image

from didgen.augment.captions.llm import MAX_SIDE, shown


def test_large_images_are_shown_small_and_square(tmp_path: Path) -> None:
    picture = Image.new("RGB", (3000, 1000), "red")
    picture.paste("blue", (1000, 0, 2000, 1000))
    picture.save(tmp_path / "large.png")
    image = shown(tmp_path / "large.png")
    assert image.size == (MAX_SIDE, MAX_SIDE)
    assert image.getcolors() == [(MAX_SIDE**2, (0, 0, 255))]
