"""Tests of annotation: Eq. 7 against its matrix form, and masks cut from maps of known shape."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from augment.annotation import binarise, propagate
from manifests.recipe import Annotation

CLOSING = Annotation().closing


def disc(side: int, row: float, column: float, radius: float) -> np.ndarray:
    """A disc on pixel centres, in units of the frame's side."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    return np.hypot(rows - row, columns - column) <= radius


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("tau", [0, 1, 4])
def test_propagate_is_the_matrix_power(tau: int) -> None:
    generator = torch.Generator().manual_seed(tau)
    cross = torch.rand(2, 4, 4, generator=generator, dtype=torch.float64)
    scores = torch.randn(2, 64, 64, generator=generator, dtype=torch.float64)
    self_map = (4 * scores).softmax(-1)
    found = propagate(cross, self_map, tau)
    large = F.interpolate(cross[:, None], (8, 8), mode="bilinear").flatten(1)
    for sample in range(2):
        vector = torch.linalg.matrix_power(self_map[sample], tau) @ large[sample]
        expected = (vector - vector.min()) / (vector.max() - vector.min())
        torch.testing.assert_close(found[sample].flatten(), expected)


def test_propagation_fills_the_segment_that_attends_to_itself() -> None:
    segment = torch.zeros(8, 8, dtype=torch.bool)
    segment[2:6, 1:5] = True
    flat = segment.flatten().float()
    same = torch.outer(flat, flat) + torch.outer(1 - flat, 1 - flat)
    cross = torch.zeros(1, 4, 4)
    cross[0, 2, 1] = 1
    found = propagate(cross, (same / same.sum(-1, keepdim=True))[None], 4)
    torch.testing.assert_close(found[0], segment.float())


def test_a_two_level_map_gives_its_disc() -> None:
    small = np.stack([disc(32, 0.5, 0.5, 0.3), disc(32, 0.4, 0.6, 0.2)])
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(0.2 + 0.6 * small + rng.normal(0, 0.02, small.shape))
    masks = binarise(maps, 256, CLOSING)
    assert masks.shape == (2, 256, 256)
    assert masks.dtype == bool
    assert overlap(masks[0], disc(256, 0.5, 0.5, 0.3)) > 0.95
    assert overlap(masks[1], disc(256, 0.4, 0.6, 0.2)) > 0.93


def test_each_map_has_a_threshold_of_its_own() -> None:
    small = disc(32, 0.5, 0.5, 0.3)
    pair = torch.from_numpy(np.stack([0.1 * small, 0.5 + 0.4 * small]))
    masks = binarise(pair, 128, CLOSING)
    assert overlap(masks[0], masks[1]) > 0.99


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_constant_map_gives_an_empty_mask(level: float) -> None:
    assert not binarise(torch.full((2, 32, 32), level), 256, CLOSING).any()


def test_closing_mends_a_crack_and_keeps_the_outline() -> None:
    small = disc(64, 0.5, 0.5, 0.3)
    cracked = small.copy()
    cracked[32] = False
    mask = binarise(torch.from_numpy(np.stack([cracked.astype(float)])), 256, CLOSING)[0]
    assert mask[:, 128][60:196].all()
    assert mask.sum() < 1.05 * disc(256, 0.5, 0.5, 0.3).sum()


def test_a_lesion_at_the_border_is_not_eaten() -> None:
    small = disc(32, 0.0, 0.5, 0.3)
    mask = binarise(torch.from_numpy(small[None].astype(float)), 256, CLOSING)[0]
    assert overlap(mask, disc(256, 0.0, 0.5, 0.3)) > 0.93
    assert mask[0, 64:192].all()
    half = np.zeros((32, 32))
    half[:, :16] = 1
    mask = binarise(torch.from_numpy(half[None]), 256, CLOSING)[0]
    assert mask[:, :126].all()
    assert not mask[:, 130:].any()
