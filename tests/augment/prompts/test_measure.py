"""Tests of the attributes measured from drawn lesions."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.color import lab2rgb
from skimage.draw import ellipse, line

from didgen.augment.prompts.colours import PROTOTYPES, REFERENCE_SKIN
from didgen.augment.prompts.geometry import (
    CENTER_REACH,
    SIZE_LIMITS,
    agree,
    agree_sentence,
    geometry,
    room,
)
from didgen.augment.prompts.measure import measure, measure_files
from didgen.augment.prompts.schema import (
    Asymmetry,
    Border,
    Color,
    Hair,
    Position,
    Shape,
    Size,
    Tint,
    Tone,
)
from didgen.augment.prompts.sentence import parse, render
from didgen.manifests.errors import DidgenError

SIDE = 192


def rgb_of(lab: tuple[float, float, float]) -> np.ndarray:
    return np.round(lab2rgb(np.array(lab, dtype=float)) * 255).astype(np.uint8)


def oval(
    height: int,
    width: int,
    center: tuple[float, float],
    radii: tuple[float, float],
    rotation: float = 0.0,
) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[ellipse(*center, *radii, shape=mask.shape, rotation=rotation)] = True
    return mask


def paint(
    mask: np.ndarray,
    color: tuple[float, float, float] = (30, 16, 12),
    skin: tuple[float, float, float] = REFERENCE_SKIN,
) -> np.ndarray:
    return np.where(mask[..., None], rgb_of(color), rgb_of(skin))


DISC = oval(SIDE, SIDE, (SIDE / 2, SIDE / 2), (45, 45))


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.floats(0.25, 0.75), st.floats(0.25, 0.75)),
    st.tuples(st.floats(0.03, 0.24), st.floats(0.03, 0.24)),
    st.floats(0, np.pi),
    st.sampled_from([(SIDE, SIDE), (SIDE, 300), (300, SIDE), (64, 64)]),
)
def test_geometry_of_drawn_ellipses(
    center: tuple[float, float],
    radii: tuple[float, float],
    rotation: float,
    shape: tuple[int, int],
) -> None:
    height, width = shape
    unit = min(shape)
    mask = oval(
        height,
        width,
        (center[0] * height, center[1] * width),
        (max(radii[0] * unit, 4), max(radii[1] * unit, 4)),
        rotation,
    )
    lesion = measure(paint(mask), mask, None).lesion
    assert lesion is not None

    share = mask.mean()
    at_least = [limit for limit in SIZE_LIMITS if share >= limit]
    assert lesion.size is list(Size)[len(at_least)]

    vertical, horizontal = (c - 0.5 for c in center)
    if all(abs(abs(c) - CENTER_REACH) > 0.02 for c in (vertical, horizontal)):
        rows = {-1: "upper", 0: "", 1: "lower"}
        columns = {-1: "left", 0: "", 1: "right"}
        row = 0 if abs(vertical) < CENTER_REACH else int(np.sign(vertical))
        column = 0 if abs(horizontal) < CENTER_REACH else int(np.sign(horizontal))
        alone = {"upper": "top", "lower": "bottom", "": "center"}
        both = f"{rows[row]} {columns[column]}".strip() if column else alone[rows[row]]
        assert lesion.position == both

    ratio = min(radii) / max(radii)
    # Of smaller ones the pixels on a diagonal outline can be taken for a ragged border.
    if min(radii) * unit > 22:
        if ratio > 0.87:
            assert lesion.shape is Shape.ROUND
        elif ratio < 0.73:
            assert lesion.shape is Shape.OVAL


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(sorted({name for name, _ in PROTOTYPES})),
    st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    st.tuples(st.floats(0.1, 0.3), st.floats(0.1, 0.3)),
    st.floats(0, np.pi),
)
def test_colour_of_drawn_ellipses_wherever_they_lie(
    name: Color, center: tuple[float, float], radii: tuple[float, float], rotation: float
) -> None:
    lab = next(point for prototype, point in PROTOTYPES if prototype is name)
    mask = oval(SIDE, SIDE, (center[0] * SIDE, center[1] * SIDE), _scaled(radii), rotation)
    lesion = measure(paint(mask, lab), mask, None).lesion
    assert lesion is not None and lesion.colors == (name,)


def _scaled(radii: tuple[float, float]) -> tuple[float, float]:
    return radii[0] * SIDE, radii[1] * SIDE


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(st.floats(0.12, 0.2), st.floats(0.12, 0.2)),
    st.floats(0, np.pi),
)
def test_ellipses_are_symmetric_and_one_with_a_bite_is_not(
    radii: tuple[float, float], rotation: float
) -> None:
    mask = oval(SIDE, SIDE, (SIDE / 2, SIDE / 2), _scaled(radii), rotation)
    assert geometry(mask).asymmetry is Asymmetry.SYMMETRIC
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    # The quarter between two main axes is taken away.
    along = np.cos(rotation) * y - np.sin(rotation) * x
    across = np.sin(rotation) * y + np.cos(rotation) * x
    bitten = mask & ~((along > 0) & (across > 0))
    # A bitten disc is its own mirror image about one axis, which can leave it in doubt.
    assert geometry(bitten).asymmetry is not Asymmetry.SYMMETRIC
    if min(radii) < 0.8 * max(radii):
        assert geometry(bitten).asymmetry is Asymmetry.ASYMMETRIC


def test_a_lesion_cut_by_the_frame_has_no_form() -> None:
    half = oval(SIDE, SIDE, (SIDE / 2, 0), (60, 60))
    size, shape, position, symmetry = geometry(half)
    assert (size, position) == (Size.MEDIUM, Position.LEFT)
    assert shape is None and symmetry is None


def test_a_star_is_irregular() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    star = np.hypot(y, x) < 50 + 18 * np.cos(6 * np.arctan2(y, x))
    lesion = measure(paint(star), star, None).lesion
    assert lesion is not None and lesion.shape is Shape.IRREGULAR


@pytest.mark.parametrize(("name", "lab"), PROTOTYPES)
def test_a_lesion_of_a_prototype_colour_has_its_name(
    name: Color, lab: tuple[float, float, float]
) -> None:
    lesion = measure(paint(DISC, lab), DISC, None).lesion
    assert lesion is not None and lesion.colors == (name,)


def test_colours_are_ordered_by_share_and_small_ones_left_out() -> None:
    image = paint(DISC, (50, 22, 20))
    rows = np.arange(SIDE)[:, None]
    image[DISC & (rows > 0.55 * SIDE)] = rgb_of((12, 7, 3))
    image[DISC & (rows > 0.715 * SIDE)] = rgb_of((70, 12, 42))
    lesion = measure(image, DISC, None).lesion
    assert lesion is not None and lesion.colors == (Color.LIGHT_BROWN, Color.BLACK)


@pytest.mark.parametrize("skin", [(70, 12, 17), (76, 15, 4), (66, 24, 8), (68, 10, -4)])
def test_colours_are_relative_to_the_skin(skin: tuple[float, float, float]) -> None:
    image = paint(DISC, (31, 26, 20)).astype(float) / 255
    cast = lab2rgb(np.array(skin, dtype=float)) / lab2rgb(np.array(REFERENCE_SKIN))
    # A lamp scales linear light; gamma turns that into another scale of the same kind.
    lit = np.round(np.clip(image * cast, 0, 1) * 255).astype(np.uint8)
    lesion = measure(lit, DISC, None).lesion
    assert lesion is not None and lesion.colors == (Color.DARK_BROWN,)


def test_border_is_sharp_until_it_is_smeared() -> None:
    image = paint(DISC)
    smeared = ndimage.gaussian_filter(image.astype(float), (16, 16, 0)).astype(np.uint8)
    for picture, expected in ((image, Border.SHARP), (smeared, Border.BLURRED)):
        lesion = measure(picture, DISC, None).lesion
        assert lesion is not None and lesion.border is expected


def test_a_sharp_border_survives_a_loose_mask() -> None:
    loose = ndimage.binary_dilation(DISC, iterations=3)
    lesion = measure(paint(DISC), loose, None).lesion
    assert lesion is not None
    assert (lesion.border, lesion.colors) == (Border.SHARP, (Color.DARK_BROWN,))


@pytest.mark.parametrize(
    ("lightness", "name"),
    [
        (82, Tone.VERY_LIGHT),
        (70, Tone.LIGHT),
        (62, Tone.INTERMEDIATE),
        (56, Tone.TAN),
        (46, Tone.BROWN),
        (30, Tone.DARK),
    ],
)
@pytest.mark.parametrize("masked", [True, False])
def test_skin_tone_follows_its_lightness(lightness: float, name: Tone, masked: bool) -> None:
    image = paint(DISC, (15, 5, 5), (lightness, 10, 10))
    assert measure(image, DISC if masked else None, None).surround.tone is name


@pytest.mark.parametrize(
    ("ab", "name"),
    [((10, 12), Tint.BEIGE), ((15, 2), Tint.PINK), ((30, 20), Tint.RED), ((12, -8), Tint.VIOLET)],
)
def test_skin_tint_follows_its_hue(ab: tuple[float, float], name: Tint) -> None:
    assert measure(paint(DISC, skin=(70, *ab)), DISC, None).surround.tint is name


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


@settings(deadline=None, max_examples=30)
@given(st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.floats(8, 80), st.floats(8, 80))
def test_agree_takes_the_geometry_of_the_mask_and_nothing_else(
    y: float, x: float, high: float, wide: float
) -> None:
    layout = oval(SIDE, SIDE, (y * SIDE, x * SIDE), (high, wide))
    before = measure(paint(DISC, (12, 7, 3)), DISC, "MEL")
    left = room(layout)
    assert left is not None
    after = agree(before, left)
    drawn = measure(paint(layout), layout, None).lesion
    assert before.lesion is not None and after.lesion is not None and drawn is not None
    taken = {"size", "shape", "position", "asymmetry"}
    assert after.lesion.model_dump(include=taken) == drawn.model_dump(include=taken)
    assert after.lesion.model_dump(exclude=taken) == before.lesion.model_dump(exclude=taken)
    assert (after.diagnosis, after.surround) == (before.diagnosis, before.surround)
    assert agree(after, left) == after


def test_agree_leaves_no_skin_and_no_border_to_a_layout_that_fills_the_frame() -> None:
    before = measure(paint(DISC), DISC, "MEL")
    assert before.lesion is not None and before.lesion.border and before.surround.tone
    left = room(np.ones_like(DISC))
    assert left is not None
    after = agree(before, left)
    assert after.lesion is not None and after.lesion.size is Size.FRAME_FILLING
    assert after.lesion.border is None
    assert after.surround.tone is None and after.surround.tint is None


def test_a_free_sentence_takes_its_geometry_from_the_layout() -> None:
    layout = oval(SIDE, SIDE, (50, 50), (25, 25))
    said = "melanoma, a huge star-shaped mole that fills the frame, black and blue, on fair skin."
    left = room(layout)
    assert left is not None
    placed = agree_sentence(said, left)
    assert placed == (
        "melanoma, a small round lesion at the upper left, black and blue, on fair skin."
    )
    assert agree_sentence(placed, left) == placed
    assert agree_sentence("black and blue on fair skin.", left) == "black and blue on fair skin."


def test_an_empty_layout_leaves_nothing_to_be_said() -> None:
    assert room(np.zeros_like(DISC)) is None


def test_agree_adds_nothing_where_no_lesion_is_described() -> None:
    unmasked = measure(paint(DISC), None, "NV")
    left = room(DISC)
    assert left is not None
    assert agree(unmasked, left) == unmasked


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
