"""Tests of agreement: captions take the geometry of a layout."""

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.augment.captions.geometry import room
from didgen.augment.captions.measure import measure
from didgen.augment.prompts.agreement import agree, agree_sentence
from didgen.augment.prompts.schema import Attributes, Size
from tests.fixtures.ovals import DISC, SIDE, oval, paint


@cache
def melanoma() -> Attributes:
    """What is measured of a disc."""
    return measure(paint(DISC, (12, 7, 3)), DISC, "MEL")


@settings(deadline=None, max_examples=15)
@given(st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.floats(8, 80), st.floats(8, 80))
def test_agree_takes_the_geometry_of_the_mask_and_nothing_else(
    y: float, x: float, high: float, wide: float
) -> None:
    layout = oval(SIDE, SIDE, (y * SIDE, x * SIDE), (high, wide))
    before, left = melanoma(), room(layout)
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
        "melanoma, a small round mole at the upper left, black and blue, on fair skin."
    )
    assert agree_sentence(placed, left) == placed
    assert agree_sentence("black and blue on fair skin.", left) == "black and blue on fair skin."


def test_agree_adds_nothing_where_no_lesion_is_described() -> None:
    unmasked = measure(paint(DISC), None, "NV")
    left = room(DISC)
    assert left is not None
    assert agree(unmasked, left) == unmasked
