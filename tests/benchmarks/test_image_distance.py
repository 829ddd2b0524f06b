"""The distance of images: LPIPS by its weights, and a stand-in that says that it is one."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.image_distance import STAND_IN, ImageDistance, image_distance
from didgen.downstream.metrics.lpips import build_lpips, load_lpips, lpips


@pytest.fixture(scope="module")
def stand_in() -> ImageDistance:
    return image_distance(None)


def pictures(noise: float) -> np.ndarray:
    """A smooth picture with noise of its own on each of three copies, (3, 96, 96, 3) uint8."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :96] / 96
    picture = 80 + 100 * np.stack([rows, columns, rows * columns], -1)
    return (picture + noise * rng.standard_normal((3, 96, 96, 3))).clip(0, 255).astype(np.uint8)


def test_the_stand_in_is_named_and_orders_images_by_their_noise(stand_in: ImageDistance) -> None:
    assert stand_in.name == STAND_IN
    distances = [stand_in.pairs(pictures(noise)).mean() for noise in (0, 5, 40)]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances[0] < distances[1] < distances[2]


def test_masks_that_are_alike_are_near_and_those_apart_are_not(stand_in: ImageDistance) -> None:
    masks = np.zeros((3, 96, 96), bool)
    masks[:, 30:60, 30:60] = True
    assert stand_in.of_masks(masks).mean() == pytest.approx(0, abs=1e-6)
    shifted, spread = masks.copy(), masks.copy()
    shifted[1] = np.roll(masks[1], 2, 0)
    spread[1], spread[2] = np.roll(masks[1], 30, 0), masks[2].T & (np.arange(96) > 50)
    assert 0 < stand_in.of_masks(shifted).mean() < stand_in.of_masks(spread).mean()


def test_with_weights_it_is_lpips_over_all_pairs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {name: part.clone() for name, part in build_lpips().state_dict().items()}
    save_file(state, tmp_path / "lpips.safetensors")
    found = image_distance(tmp_path / "lpips.safetensors")
    assert found.name == "LPIPS"
    network = load_lpips(tmp_path / "lpips.safetensors")
    drawn = torch.from_numpy(pictures(20)).movedim(-1, 1).contiguous()
    each = [
        lpips(network, drawn[a : a + 1], drawn[b : b + 1])[0] for a, b in combinations(range(3), 2)
    ]
    assert found.pairs(pictures(20)) == pytest.approx(each, rel=1e-5)
