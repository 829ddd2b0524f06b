"""Tests of colours: those of drawn lesions, and tone and tint of their skin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import lab2rgb

from didgen.augment.captions.calibration import CAL
from didgen.augment.captions.measure import measure
from didgen.augment.prompts.schema import Color, Tint, Tone
from tests.fixtures.ovals import DISC, SIDE, oval, paint, rgb_of, scaled


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(sorted({name for name, _ in CAL.prototypes})),
    st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    st.tuples(st.floats(0.1, 0.3), st.floats(0.1, 0.3)),
    st.floats(0, np.pi),
)
def test_colour_of_drawn_ellipses_wherever_they_lie(
    name: Color, center: tuple[float, float], radii: tuple[float, float], rotation: float
) -> None:
    lab = next(point for prototype, point in CAL.prototypes if prototype is name)
    mask = oval(SIDE, SIDE, (center[0] * SIDE, center[1] * SIDE), scaled(radii), rotation)
    lesion = measure(paint(mask, lab), mask, None).lesion
    assert lesion is not None and lesion.colors == (name,)


@pytest.mark.parametrize(("name", "lab"), CAL.prototypes)
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
    cast = lab2rgb(np.array(skin, dtype=float)) / lab2rgb(np.array(CAL.reference_skin))
    # A lamp scales linear light; gamma turns that into another scale of the same kind.
    lit = np.round(np.clip(image * cast, 0, 1) * 255).astype(np.uint8)
    lesion = measure(lit, DISC, None).lesion
    assert lesion is not None and lesion.colors == (Color.DARK_BROWN,)


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
