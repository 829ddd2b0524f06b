"""Tests of images as tensors: photograph and mask are cut alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from didgen.augment.diffusion.images import as_layouts, load_mask, load_pixels
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.sources import manifest_of, record


def drawn_source(folder: Path, width: int, height: int) -> tuple[SourceManifest, SourceRecord]:
    """A manifest with one image whose lesion is its dark rectangle, and its record."""
    image = np.full((height, width, 3), 230, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    box = np.s_[height // 3 : height // 2, width // 4 : width // 2]
    image[box], mask[box] = 20, 255
    Image.fromarray(image).save(folder / "a.png")
    Image.fromarray(mask).save(folder / "a_mask.png")
    one = record("a", width=width, height=height, mask="a_mask.png", source="drawn")
    return manifest_of(folder, one, fractions=(1.0, 0.0, 0.0)), one


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (97, 64), (50, 41)])
def test_an_image_that_is_not_square_is_cut_like_its_mask(
    tmp_path: Path, width: int, height: int
) -> None:
    manifest, record = drawn_source(tmp_path, width, height)
    pixels, mask = load_pixels(manifest, record, 64), load_mask(manifest, record, 64)
    assert pixels.shape == (3, 64, 64)
    assert mask.shape == (1, 64, 64)
    assert 0 < mask.mean() < 1
    dark = pixels.mean(0) < -0.02
    differ = (dark != (mask[0] > 0.5)).float().mean()
    assert differ < 0.04
    # The scale is the same along both axes: the rectangle keeps its proportions.
    rows, columns = mask[0].sum(0).max(), mask[0].sum(1).max()
    shape = (height // 2 - height // 3) / (width // 2 - width // 4)
    assert rows / columns == pytest.approx(shape, rel=0.35)


def test_an_image_of_the_right_size_is_not_touched(
    manifest: SourceManifest,
) -> None:
    record = manifest.records[0]
    expected = np.asarray(Image.open(manifest.image_path(record))).astype(np.float32)
    found = (load_pixels(manifest, record, 256).movedim(0, -1).numpy() + 1) * 127.5
    np.testing.assert_allclose(found, expected, atol=1e-3)
    mask = np.asarray(Image.open(manifest.mask_path(record))) > 0
    np.testing.assert_array_equal(load_mask(manifest, record, 256)[0].numpy(), mask)


def test_a_record_without_mask_is_an_error(manifest: SourceManifest) -> None:
    record = manifest.records[0].model_copy(update={"mask": None})
    with pytest.raises(DidgenError, match="drawn_00 has no mask"):
        load_mask(manifest, record, 64)


def test_a_mask_that_was_drawn_inverted_is_read_so(tmp_path: Path) -> None:
    manifest, plain = drawn_source(tmp_path, 96, 96)
    inverted = plain.model_copy(update={"mask_inverted": True})
    mask, other = (load_mask(manifest, one, 32) for one in (plain, inverted))
    assert ((mask + other) - 1).abs().max() < 1e-6 and mask.mean() < 0.5


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        (torch.zeros(2, 1, 8, 8), r"masks of 1 prompts are \(1, 1, H, W\), not .*2, 1, 8, 8"),
        (torch.zeros(1, 1, 8, 9), r"masks are square, like the images, not \(8, 9\)"),
        (torch.full((1, 8, 8), 255), "divide levels"),
        (np.full((1, 8, 8), -1.0), r"\[0, 1\]"),
    ],
)
def test_layouts_of_another_number_shape_or_range_are_refused(
    masks: Tensor | np.ndarray, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        as_layouts(masks, 1)
