"""Tests of pictures: outlines where masks end, and panels that show what they are given."""

import numpy as np

from didgen.manifests.views.outlines import LAYOUT_COLOUR, MASK_COLOUR, outline, pair_panel
from tests.fixtures.pictures import square


def test_an_outline_is_the_border_and_nothing_else() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    marked = outline(image, square(32, 8, 24), (1, 2, 3))
    drawn = (marked == (1, 2, 3)).all(-1)
    np.testing.assert_array_equal(drawn, square(32, 8, 24) & ~square(32, 10, 22))
    assert not image.any()
    assert not outline(image, np.zeros((32, 32), bool), (1, 2, 3)).any()


def test_a_panel_has_the_image_and_beside_it_the_mask() -> None:
    image, mask, layout = np.full((32, 32, 3), 90, np.uint8), square(32, 10, 20), square(32, 4, 28)
    panel = pair_panel(image, mask, layout)
    assert panel.shape == (32, 64, 3)
    np.testing.assert_array_equal(panel[:, 32:, 0] > 0, mask)
    assert (panel[:, :32] == MASK_COLOUR).all(-1).any()
    assert (panel[:, :32] == LAYOUT_COLOUR).all(-1).any()
    alone = pair_panel(image, mask)[:, :32]
    assert not (alone == LAYOUT_COLOUR).all(-1).any()
