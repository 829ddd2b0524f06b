"""Tests of redrawn masks against matplotlib's own test of a point in a path."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.reviews.redrawn import mask_of, redrawn_mask
from tests.fixtures.pictures import decoded, encoded, noise
from tests.fixtures.reviews import BOX


def test_a_box_is_its_pixels() -> None:
    expected = np.zeros((8, 16), bool)
    expected[2:6, 4:12] = True
    np.testing.assert_array_equal(mask_of(BOX, 8, 16), expected)


def test_several_curves_are_their_union() -> None:
    left = (((0, 0), (0.5, 0), (0.5, 1), (0, 1)),)
    both = mask_of((*BOX, *left), 8, 16)
    np.testing.assert_array_equal(both, mask_of(BOX, 8, 16) | mask_of(left, 8, 16))
    assert not mask_of((), 8, 16).any()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=3, unique=True),
    st.integers(5, 40),
    st.integers(5, 40),
)
def test_a_triangle_is_what_matplotlib_finds(
    points: list[tuple[float, float]], height: int, width: int
) -> None:
    from matplotlib.path import Path as Outline

    rows, columns = np.mgrid[:height, :width]
    centres = np.stack([columns + 0.5, rows + 0.5], -1).reshape(-1, 2)
    scaled = np.array(points) * (width, height)
    a, b, c = scaled
    # Centres within rounding of an edge may fall on either side.
    edges = [(a, b), (b, c), (c, a)]
    near = np.zeros(len(centres), bool)
    for one, other in edges:
        along = other - one
        part = np.clip(((centres - one) @ along) / max(along @ along, 1e-300), 0, 1)
        near |= np.hypot(*(centres - one - part[:, None] * along).T) < 1e-6
    inside = Outline(np.array([a, b, c, a]), closed=True).contains_points(centres)
    found = mask_of((tuple(points),), height, width).ravel()
    np.testing.assert_array_equal(found[~near], inside[~near])


@pytest.mark.parametrize("size", [(16, 24), (30, 20)])
def test_the_file_has_the_size_of_the_image(size: tuple[int, int]) -> None:
    data = redrawn_mask(BOX, encoded(noise(1, *size), "JPEG"), Path("a.jpg"))
    assert data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decoded(data), mask_of(BOX, *size) * np.uint8(255))
