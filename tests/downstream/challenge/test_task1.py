"""Tests of Task 1: a mask of the central square lies where the square was cut from."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from didgen.downstream.challenge.task1 import over_whole


@pytest.mark.parametrize(("width", "height"), [(600, 450), (450, 600), (512, 512), (601, 450)])
def test_a_mask_that_was_cut_and_brought_back_is_the_lesion(width: int, height: int) -> None:
    rows, columns = np.mgrid[:height, :width]
    lesion = np.hypot((rows - height * 0.45) / 1.2, columns - width * 0.55) < 90
    cut = ImageOps.fit(Image.fromarray(lesion.astype(np.float32)), (256, 256), Image.Resampling.BOX)
    back = over_whole(np.asarray(cut) > 0.5, width, height)
    assert back.shape == (height, width)
    assert (back & lesion).sum() / (back | lesion).sum() > 0.97


def test_what_lies_outside_the_square_is_skin() -> None:
    whole = over_whole(np.ones((8, 8), np.bool_), 20, 10)
    assert whole[:, 5:15].all() and whole.sum() == 100
