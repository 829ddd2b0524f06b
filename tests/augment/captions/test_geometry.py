"""Tests of geometry: size, place, shape and border of drawn lesions, and of layouts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from didgen.augment.captions.calibration import CAL
from didgen.augment.captions.geometry import (
    geometry,
    room,
)
from didgen.augment.captions.measure import measure
from didgen.augment.prompts.schema import Asymmetry, Border, Color, Position, Shape, Size
from tests.fixtures.ovals import DISC, SIDE, oval, paint, scaled


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
    at_least = [limit for limit in CAL.size_limits if share >= limit]
    assert lesion.size is list(Size)[len(at_least)]

    vertical, horizontal = (c - 0.5 for c in center)
    if all(abs(abs(c) - CAL.center_reach) > 0.02 for c in (vertical, horizontal)):
        rows = {-1: "upper", 0: "", 1: "lower"}
        columns = {-1: "left", 0: "", 1: "right"}
        row = 0 if abs(vertical) < CAL.center_reach else int(np.sign(vertical))
        column = 0 if abs(horizontal) < CAL.center_reach else int(np.sign(horizontal))
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
    st.tuples(st.floats(0.12, 0.2), st.floats(0.12, 0.2)),
    st.floats(0, np.pi),
)
def test_ellipses_are_symmetric_and_one_with_a_bite_is_not(
    radii: tuple[float, float], rotation: float
) -> None:
    mask = oval(SIDE, SIDE, (SIDE / 2, SIDE / 2), scaled(radii), rotation)
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


def test_an_empty_layout_leaves_nothing_to_be_said() -> None:
    assert room(np.zeros_like(DISC)) is None
