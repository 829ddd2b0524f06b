"""Tests of the figures on held-out images; those of the bundled model are with its tests."""

import numpy as np

from benchmarks.heldout import ious


def test_ious_count_pixels() -> None:
    square = np.zeros((4, 4, 4), bool)
    square[0, :2] = square[1, 1:3] = square[2, 0, 0] = True
    truth = np.zeros((4, 4, 4), bool)
    truth[0, :2] = truth[1, :2] = truth[3, 0, 0] = True
    assert ious(square, truth) == [1.0, 1 / 3, 0.0, 0.0]
    assert ious(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 2), bool)) == [1.0]
