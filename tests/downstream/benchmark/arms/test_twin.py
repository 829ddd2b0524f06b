"""Twins: mixed by a share that falls to 0, aligned, with the real mask as the label."""

from typing import Any

import pytest
import torch

from didgen.downstream.benchmark.arms.twin import Twin
from didgen.downstream.data.loader import Draws
from didgen.downstream.data.samplers import ALONE
from tests.fixtures.benchmarks import draws_of, given_images, round_pairs

PAIRS = round_pairs(9, side=32)
REAL, SYNTHETIC = PAIRS.take(range(5)), PAIRS.take(range(5, 9))
LAYOUTS = {"pair-5": "pair-1", "pair-6": "pair-1", "pair-7": "pair-3", "pair-8": "elsewhere"}


def test_only_pairs_that_a_mask_guided_are_twins_and_their_share_falls() -> None:
    made = Twin().training_set(given_images(REAL, SYNTHETIC, layouts=LAYOUTS, share=0.6))
    found = draws_of(made, batch_size=5, steps=50)
    twins = {place: {d.other for d in found if d.place == place} for place in range(5)}
    assert twins == {0: {ALONE}, 1: {5, 6}, 2: {ALONE}, 3: {7}, 4: {ALONE}}
    for draw in found:
        wanted = 0.6 * (1 - draw.number // 5 / 50) if draw.other != ALONE else 0.0
        assert draw.share == pytest.approx(wanted)


def test_a_sample_is_the_real_pair_mixed_with_its_twin_in_place() -> None:
    made = Twin().training_set(given_images(REAL, SYNTHETIC, layouts=LAYOUTS, share=0.5))
    both = made.images
    data: Any = Draws(both, 3, made.mixing)
    plain = Draws(both, 3)
    for number in range(6):
        real, twin = plain[number, 3], plain[number, 7]
        mixed = data[number, 3, 7, 0.25]
        assert torch.equal(mixed["mask"], real["mask"])
        oracle = 0.75 * real["pixels"] + 0.25 * twin["pixels"]
        assert (mixed["pixels"] - oracle).abs().max() <= 0.5
        assert torch.equal(data[number, 3]["pixels"], real["pixels"])
