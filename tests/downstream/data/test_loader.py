"""Tests of the loader: which images are drawn when, and how they are turned."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from didgen.downstream.data.loader import Draws, draws, loader


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=20),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(0, 99),
)
def test_draws_are_numbered_and_go_through_all_images(labels, batch_size, steps, seed) -> None:
    batches = list(draws(np.array(labels), batch_size=batch_size, steps=steps, seed=seed))
    assert [len(batch) for batch in batches] == [batch_size] * steps
    flat = [draw for batch in batches for draw in batch]
    assert [number for number, _ in flat] == list(range(batch_size * steps))
    for start in range(0, len(flat) - len(labels) + 1, len(labels)):
        epoch = [place for _, place in flat[start : start + len(labels)]]
        assert sorted(epoch) == list(range(len(labels)))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 99))
def test_oversampling_evens_the_classes_and_leaves_no_image_out(labels, seed) -> None:
    largest = max(Counter(labels).values())
    size = largest * len(set(labels))
    (batch,) = draws(np.array(labels), batch_size=size, steps=1, seed=seed, oversampled=True)
    places = Counter(place for _, place in batch)
    by_class = Counter(labels[place] for place in places.elements())
    assert set(by_class.values()) == {largest}
    assert set(places) == set(range(len(labels)))
    for label in set(labels):
        times = [count for place, count in places.items() if labels[place] == label]
        assert max(times) - min(times) <= 1


def test_another_seed_has_another_order() -> None:
    first, same, other = (
        list(draws(np.zeros(50, int), batch_size=50, steps=2, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == same
    assert first != other
    assert [place for _, place in first[0]] != [place for _, place in first[1]]


def test_a_draw_is_the_same_whatever_was_drawn_before(images) -> None:
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


def test_workers_load_what_one_process_loads(images) -> None:
    alone, shared = (
        list(loader(images, batch_size=4, steps=3, seed=1, oversampled=True, workers=workers))
        for workers in (0, 2)
    )
    assert len(alone) == len(shared) == 3
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one["pixels"], other["pixels"])
        assert torch.equal(one["label"], other["label"])
