"""Tests of contact sheets: every picture whole and in its place, outlines where masks end."""

import numpy as np

from didgen.augment.contact_sheets import (
    GAP,
    LINE,
    PANEL,
    TITLE,
    caption_sheet,
    image_sheet,
    pair_sheet,
)
from didgen.manifests.views.outlines import LAYOUT_COLOUR, MASK_COLOUR
from tests.fixtures.pictures import square


def test_images_stand_row_by_row() -> None:
    images = np.stack([np.full((20, 30, 3), 40 * n, np.uint8) for n in range(1, 6)])
    sheet = np.asarray(image_sheet(images, ["MEL", "", "NV", "BCC", "DF"], columns=2))
    assert sheet.shape == (3 * (20 + TITLE + GAP) + GAP, 2 * (30 + GAP) + GAP, 3)
    for number, image in enumerate(images):
        row, column = divmod(number, 2)
        top, left = GAP + row * (20 + TITLE + GAP) + TITLE, GAP + column * (30 + GAP)
        np.testing.assert_array_equal(sheet[top : top + 20, left : left + 30], image)
    assert (sheet[-GAP - 20 :, -GAP - 30 :] == 255).all()


def test_a_pair_shows_image_outlines_and_mask() -> None:
    images = np.full((1, 32, 32, 3), 90, np.uint8)
    masks, layouts = square(32, 10, 20)[None], square(32, 4, 28)[None]
    sheet = np.asarray(pair_sheet(images, masks, layouts, ["MEL"]))
    picture = sheet[GAP + TITLE : GAP + TITLE + 32, GAP : GAP + 64]
    np.testing.assert_array_equal(picture[:, 32:, 0] > 0, masks[0])
    left = picture[:, :32]
    edge = masks[0] & ~square(32, 12, 18)
    np.testing.assert_array_equal((left == MASK_COLOUR).all(-1), edge)
    np.testing.assert_array_equal((left == LAYOUT_COLOUR).all(-1), layouts[0] & ~square(32, 6, 26))


def test_captioned_images_stand_over_their_words() -> None:
    images = [np.full((40, 40, 3), 90, np.uint8), np.full((20, 40, 3), 60, np.uint8)]
    captions = [("one", "words " * 20), ("two", "a few")]
    sheet = np.asarray(caption_sheet(images, [square(40, 10, 30), None], captions, columns=1))
    lines = 1 + 3
    height = PANEL + LINE * lines + GAP
    assert sheet.shape == (2 * height + GAP, PANEL + 2 * GAP, 3)
    first = sheet[GAP : GAP + PANEL, GAP : GAP + PANEL]
    assert (first == MASK_COLOUR).all(-1).any() and (first == 90).all(-1).any()
    assert (sheet[GAP + PANEL : height] < 128).any()
    second = sheet[height + GAP : height + GAP + PANEL, GAP : GAP + PANEL]
    assert (second[PANEL // 2] == 60).all() and (second[0] == 255).all()
