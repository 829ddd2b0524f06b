"""Tests of the loader: which images are drawn when, and how they are turned."""

import numpy as np
import torch

from didgen.downstream.data.images import Images
from didgen.downstream.data.loader import Batches, Draws, TrainingSet, mixed_pixels
from didgen.downstream.data.samplers import Balanced, Plain


def test_a_draw_is_the_same_whatever_was_drawn_before(images: Images) -> None:
    data = Draws(images, seed=7)
    first = data[5, 2]["pixels"]
    state = torch.random.get_rng_state()
    torch.rand(100)
    data[6, 2]
    assert torch.equal(data[5, 2]["pixels"], first)
    torch.random.set_rng_state(state)
    data[5, 2]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(data[6, 2]["pixels"], first)
    assert not torch.equal(Draws(images, seed=8)[5, 2]["pixels"], first)
    assert first.shape == images.pixels.shape[1:]
    assert first.dtype == torch.uint8


def test_workers_load_what_one_process_loads(images: Images) -> None:
    drawn = TrainingSet(images, Plain(Balanced(images.labels)), len(images))
    alone, shared = (list(Batches(drawn, 4, 3, 1, workers).loaded()) for workers in (0, 2))
    assert len(alone) == len(shared) == 3
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one["pixels"], other["pixels"])
        assert torch.equal(one["label"], other["label"])


def test_batches_begin_anywhere(images: Images) -> None:
    batches = Batches(TrainingSet(images, Plain(Balanced(images.labels)), len(images)), 4, 5, 1)
    late, whole = list(batches.loaded(3)), list(batches.loaded())
    assert len(late) == 2
    for one, other in zip(late, whole[3:], strict=True):
        assert torch.equal(one["pixels"], other["pixels"])


def test_each_sample_comes_with_its_weight_where_there_are_weights(images: Images) -> None:
    weights = np.arange(12, dtype=np.float32)
    sample = Draws(images, 7, weights=weights)[5, 3]
    assert sample["weight"].dtype == torch.float32 and float(sample["weight"]) == 3
    assert "weight" not in Draws(images, 7)[5, 3]


def test_mixed_pixels_are_rounded_and_stay_in_their_range() -> None:
    black, white = torch.zeros(3, 2, 2, dtype=torch.uint8), torch.full((3, 2, 2), 255).byte()
    assert mixed_pixels(black, white, 0.3).unique().tolist() == [76]
    places = torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    assert mixed_pixels(black, white, places)[0].tolist() == [[0, 255], [128, 0]]
