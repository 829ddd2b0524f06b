"""Tests of what lies on the skin: rulers at any angle, ink, hair beside them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from skimage.color import lab2rgb

from didgen.augment.captions.artefacts import black_hat, hair_mask, ink_mask, ruler_mask
from didgen.augment.captions.calibration import CAL
from didgen.augment.captions.measure import measure
from didgen.augment.prompts.schema import Hair

SIDE = 256
NOTHING = np.zeros((SIDE, SIDE), dtype=bool)
SKIN = tuple(round(float(value) * 255) for value in lab2rgb(np.array([70.0, 12.0, 17.0])))
VIOLET = (80, 50, 150)


def drawn(
    strokes: list[tuple[float, float, float, float]],
    colour: tuple[int, int, int] = (60, 50, 45),
    width: int = 2,
) -> Image.Image:
    """Skin with straight strokes (x0, y0, x1, y1)."""
    picture = Image.new("RGB", (SIDE, SIDE), SKIN)
    pen = ImageDraw.Draw(picture)
    for x0, y0, x1, y1 in strokes:
        pen.line((x0, y0, x1, y1), fill=colour, width=width)
    return picture


def ruler(angle: float, gap: float, ticks: int) -> list[tuple[float, float, float, float]]:
    """A ruler below the middle, turned about it: its line and its ticks."""
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))

    def turned(x: float, y: float) -> tuple[float, float]:
        return 128 + x * cosine - y * sine, 128 + x * sine + y * cosine

    start = -gap * (ticks - 1) / 2
    lines = [(*turned(start, 70), *turned(-start, 70))]
    lines += [(*turned(start + n * gap, 70), *turned(start + n * gap, 62)) for n in range(ticks)]
    return lines


def lines_of(picture: Image.Image) -> np.ndarray:
    return black_hat(np.asarray(picture.convert("L")))


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 359), st.floats(9, 18), st.integers(10, 12))
def test_a_ruler_is_found_at_any_angle(angle: float, gap: float, ticks: int) -> None:
    found = ruler_mask(lines_of(drawn(ruler(angle, gap, ticks))), NOTHING)
    assert found.any()


def test_a_ruler_is_no_hair_and_a_hair_across_it_is() -> None:
    marks = ruler(10, 14, 11)
    assert measure(np.asarray(drawn(marks)), None, None).surround.hair is Hair.NONE
    crossed = measure(np.asarray(drawn([*marks, (20, 10, 230, 60)])), None, None).surround
    assert crossed.ruler and crossed.hair is Hair.SOME


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 14))
def test_hairs_are_no_ruler(seed: int, count: int) -> None:
    ends = np.random.default_rng(seed).uniform(0, SIDE, (count, 4))
    assert not ruler_mask(lines_of(drawn([tuple(row) for row in ends])), NOTHING).any()


def test_a_network_within_the_lesion_is_no_ruler() -> None:
    marks = ruler(0, 14, 11)
    assert not ruler_mask(lines_of(drawn(marks)), ~NOTHING).any()


def test_a_line_within_the_lesion_is_no_hair() -> None:
    hat = lines_of(drawn([(60, 120, 190, 140)]))
    assert hair_mask(hat, NOTHING, NOTHING).any()
    assert not hair_mask(hat, ~NOTHING, NOTHING).any()


def test_the_dark_edge_of_a_cut_picture_is_no_hair() -> None:
    picture = np.asarray(drawn([])).copy()
    picture[:2] = 20
    picture[:, -2:] = 20
    assert measure(picture, None, None).surround.hair is Hair.NONE


@pytest.mark.parametrize(
    ("colour", "inked"), [(VIOLET, True), ((50, 60, 140), True), ((60, 50, 45), False)]
)
def test_strokes_of_violet_or_blue_are_ink(colour: tuple[int, int, int], inked: bool) -> None:
    rng = np.random.default_rng(0)
    strokes = [tuple(row) for row in rng.uniform(20, 90, (20, 4))]
    lesion = np.zeros((SIDE, SIDE), dtype=bool)
    lesion[150:200, 150:200] = True
    found = measure(np.asarray(drawn(strokes, colour)), lesion, None).surround
    assert found.ink is inked
    if inked:
        assert found.hair is Hair.NONE


def test_a_sticker_is_no_ink() -> None:
    from skimage.color import rgb2lab

    picture = drawn([])
    ImageDraw.Draw(picture).ellipse((10, 10, 90, 90), fill=VIOLET)
    lab = rgb2lab(np.asarray(picture.resize((128, 128))))
    lesion = np.zeros((128, 128), dtype=bool)
    assert ink_mask(lab, lesion, np.array([70.0, 12.0, 17.0])).mean() < CAL.min_ink
