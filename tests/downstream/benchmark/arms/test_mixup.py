"""Mixup: pixels and labels in one proportion."""

import numpy as np
import torch

from didgen.downstream.benchmark.arms.mixup import Mixup
from didgen.downstream.data.images import Images
from didgen.downstream.data.loader import Draws
from didgen.downstream.data.samplers import Draw
from tests.fixtures.benchmarks import draws_of, given_images


def test_shares_and_partners_are_those_of_the_paper(images: Images) -> None:
    made = Mixup().training_set(given_images(images))
    found = draws_of(made, batch_size=10, steps=300)
    shares = np.array([draw.share for draw in found])
    # Beta(0.2, 0.2): mean 1/2, variance 1 / (4 (2 0.2 + 1)).
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 1 / 5.6) < 0.01
    assert {draw.other for draw in found} == set(range(12))


def test_a_sample_is_its_two_images_in_their_proportion(images: Images) -> None:
    made = Mixup().training_set(given_images(images))
    data, plain = Draws(images, 3, made.mixing), Draws(images, 3)
    own = plain[5, 0]
    alone, other = data[Draw(5, 0, 11, 0.0)], data[Draw(5, 0, 11, 1.0)]
    assert torch.equal(alone["pixels"], own["pixels"])
    assert not torch.equal(other["pixels"], own["pixels"])
    mixed = data[Draw(5, 0, 11, 0.25)]
    oracle = 0.75 * own["pixels"] + 0.25 * other["pixels"]
    assert (mixed["pixels"] - oracle).abs().max() <= 0.5
    assert (mixed["label"], mixed["other_label"]) == (0, 2)
    assert float(mixed["other_share"]) == 0.25
