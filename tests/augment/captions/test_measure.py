"""Tests of measuring: the attributes of a picture, with a mask and without."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.draw import line

from didgen.augment.captions.geometry import geometry
from didgen.augment.captions.measure import measure, measure_files
from didgen.augment.prompts.schema import Color, Hair, Position, Size
from didgen.augment.prompts.sentence import parse, render
from didgen.manifests.errors import DidgenError
from tests.fixtures.ovals import DISC, SIDE, oval, paint


def test_hairs_are_counted_and_dots_are_not() -> None:
    rng = np.random.default_rng(0)
    size = 256
    disc = oval(size, size, (128, 128), (50, 50))

    def with_hairs(count: int) -> np.ndarray:
        strands = np.zeros((size, size), dtype=bool)
        for _ in range(count):
            top, bottom = rng.integers(0, size, 2)
            strands[line(0, int(top), size - 1, int(bottom))] = True
        strands = ndimage.binary_dilation(strands, np.ones((1, 3)))
        return np.where(strands[..., None], 40, paint(disc)).astype(np.uint8)

    dotted = paint(disc)
    dotted[20:240:12, 20:240:12] = 30
    dotted[21:240:12, 20:240:12] = 30
    assert measure(with_hairs(0), disc, None).surround.hair is Hair.NONE
    assert measure(dotted, disc, None).surround.hair is Hair.NONE
    assert measure(with_hairs(1), disc, None).surround.hair is Hair.SOME
    assert measure(with_hairs(12), disc, None).surround.hair is Hair.DENSE
    assert measure(with_hairs(40), disc, None).surround.hair is Hair.DENSE
    lesion = measure(with_hairs(12), disc, None).lesion
    assert lesion is not None and lesion.colors == (Color.DARK_BROWN,)


def test_dark_corners_are_those_of_a_vignette_and_not_of_the_lesion() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    image = paint(DISC)
    vignetted = np.where((np.hypot(y, x) > 0.6 * SIDE)[..., None], 5, image).astype(np.uint8)
    whole = ~oval(SIDE, SIDE, (0, SIDE / 2), (60, 60))
    for mask in (DISC, None):
        assert measure(vignetted, mask, None).surround.dark_corners
        assert not measure(image, mask, None).surround.dark_corners
    assert not measure(paint(whole), whole, None).surround.dark_corners


def test_without_a_mask_only_the_surround_is_known() -> None:
    image = paint(DISC)
    bare = measure(image, None, "NV")
    assert bare == measure(image, np.zeros_like(DISC), "NV")
    assert bare.lesion is None
    assert bare.surround == measure(image, DISC, "NV").surround
    assert bare.diagnosis == "melanocytic nevus"


def test_a_mask_of_the_whole_frame_leaves_no_skin_and_no_border() -> None:
    mask = np.ones_like(DISC)
    found = measure(paint(mask), mask, None)
    assert found.lesion is not None and found.lesion.size is Size.FRAME_FILLING
    assert found.lesion.border is None
    assert found.surround.tone is None and found.surround.tint is None


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("MEL", "melanoma"),
        ("Spitz nevus, atypical", "spitz nevus atypical"),
        ("grade_2", "grade_2"),
        ("<lesion>", "lesion"),
        (",", None),
        (None, None),
    ],
)
def test_labels_become_words(label: str | None, words: str | None) -> None:
    assert measure(paint(DISC), DISC, label).diagnosis == words


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
@example(1, 1, 0, 1.0)
@example(2, 40, 0, 0.5)
def test_any_picture_gives_a_caption_that_parses(
    height: int, width: int, seed: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = rng.random((height, width)) < density
    found = measure(image, mask, "BKL")
    assert parse(render(found)) == found
    assert (found.lesion is None) == (not mask.any())


def test_one_pixel_of_a_large_frame_is_still_a_lesion() -> None:
    mask = np.zeros((1500, 2000), dtype=bool)
    mask[100, 1900] = True
    lesion = measure(paint(mask), mask, None).lesion
    assert lesion is not None
    assert (lesion.size, lesion.position) == (Size.TINY, Position.UPPER_RIGHT)


def test_measure_refuses_arrays_of_the_wrong_form() -> None:
    with pytest.raises(ValueError, match="uint8"):
        measure(paint(DISC).astype(float), DISC, None)
    with pytest.raises(ValueError, match="mask"):
        measure(paint(DISC), DISC[:-1], None)


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    Image.fromarray(paint(DISC)).save(tmp_path / "0.png")
    Image.fromarray(np.ones((5, 7), dtype=bool)).save(tmp_path / "0_mask.png")
    with pytest.raises(DidgenError, match=r"0_mask\.png has 7x5 pixels .*replace"):
        measure_files((tmp_path / "0.png", tmp_path / "0_mask.png", None))


def test_a_caption_speaks_of_the_square_that_is_trained_on(tmp_path: Path) -> None:
    wide = oval(SIDE, 3 * SIDE // 2, (SIDE // 2, SIDE), (40, 40))
    Image.fromarray(paint(wide)).save(tmp_path / "wide.png")
    Image.fromarray(wide).save(tmp_path / "mask.png")
    found = measure_files((tmp_path / "wide.png", tmp_path / "mask.png", None))
    cut = slice(SIDE // 4, SIDE // 4 + SIDE)
    assert found == measure(paint(wide)[:, cut], wide[:, cut], None)
    assert found.lesion is not None
    # In the whole frame it would be nearer to the middle, and smaller.
    assert found.lesion.position is Position.RIGHT
    assert geometry(wide).size is not found.lesion.size


@pytest.mark.data
def test_real_images_are_measured_with_variety(data_dir: Path) -> None:
    root = data_dir / "isic2018"
    masks = root / "HAM10000_segmentations_lesion_tschandl"
    captions = [
        render(measure_files((path, masks / f"{path.stem}_segmentation.png", None)))
        for path in sorted((root / "ISIC2018_Task3_Training_Input").glob("*.jpg"))[::130]
    ]
    assert len(set(captions)) > 0.7 * len(captions)
