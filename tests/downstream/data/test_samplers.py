"""Samplers: every place in its time, shares of batches exactly, and all of it from a seed."""

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.downstream.data.samplers import (
    ALONE,
    SYNTHETIC,
    Balanced,
    Blend,
    Draw,
    Epochs,
    Phases,
    Plain,
    draws,
)


def epochs(count: int) -> Epochs:
    return Epochs(np.arange(count))


@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_draws_are_numbered_and_go_through_all_images(
    count: int, batch_size: int, steps: int, seed: int
) -> None:
    sampler = Plain(epochs(count))
    batches = list(draws(sampler, None, batch_size=batch_size, steps=steps, seed=seed))
    assert [len(batch) for batch in batches] == [batch_size] * steps
    flat = [draw for batch in batches for draw in batch]
    assert [draw.number for draw in flat] == list(range(batch_size * steps))
    assert {draw.other for draw in flat} == {ALONE}
    for start in range(0, len(flat) - count + 1, count):
        epoch = [draw.place for draw in flat[start : start + count]]
        assert sorted(epoch) == list(range(count))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 99))
def test_oversampling_evens_the_classes_and_leaves_no_image_out(
    labels: list[int], seed: int
) -> None:
    largest = max(Counter(labels).values())
    size = largest * len(set(labels))
    (batch,) = Plain(Balanced(np.array(labels))).batches(size, 1, seed)
    places = Counter(batch)
    by_class = Counter(labels[place] for place in places.elements())
    assert set(by_class.values()) == {largest}
    assert set(places) == set(range(len(labels)))
    for label in set(labels):
        times = [count for place, count in places.items() if labels[place] == label]
        assert max(times) - min(times) <= 1


def test_another_seed_has_another_order_and_so_has_a_salted_stream() -> None:
    first, same, other = (list(islice(epochs(50).places(seed), 100)) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert first[:50] != first[50:]
    assert first != list(islice(Epochs(np.arange(50), SYNTHETIC).places(1), 100))


@given(st.integers(1, 40), st.floats(0, 1), st.integers(1, 30), st.integers(0, 99))
def test_a_blend_keeps_its_share_of_every_batch(
    batch_size: int, share: float, steps: int, seed: int
) -> None:
    blend = Blend(epochs(7), Epochs(np.arange(7, 12), SYNTHETIC), share)
    batches = list(blend.batches(batch_size, steps, seed))
    taken = [sum(place >= 7 for place in batch) for batch in batches]
    assert {len(batch) for batch in batches} == {batch_size}
    # No batch is off by one image, nor are all of them together.
    assert all(abs(count - share * batch_size) < 1 + 1e-6 for count in taken)
    assert abs(sum(taken) - share * batch_size * steps) < 1 + 1e-6
    # The real images come in the order that they have without synthetic ones.
    real = [place for batch in batches for place in batch if place < 7]
    assert real == list(islice(epochs(7).places(seed), len(real)))


@pytest.mark.parametrize(("share", "switch"), [(0.0, 0), (0.3, 3), (0.5, 5), (1.0, 10)])
def test_phases_switch_at_their_step(share: float, switch: int) -> None:
    phases = Phases(Plain(Epochs(np.arange(5, 9))), Plain(epochs(5)), share)
    batches = list(phases.batches(4, 10, 0))
    assert [min(batch) >= 5 for batch in batches] == [True] * switch + [False] * (10 - switch)
    assert all(max(batch) < 5 for batch in batches[switch:])


class Next:
    """A mixing of each image with the next one, and its share the part that is done."""

    aligned = True

    def partner(
        self, rng: np.random.Generator, place: int, done: float
    ) -> tuple[int, float] | None:
        return None if place == 0 else (place + 1, done + rng.random() / 1e9)

    def mix(self, own: dict[str, Any], other: dict[str, Any], share: float) -> dict[str, Any]:
        return own


def test_partners_follow_from_seed_and_number_and_know_how_much_is_done() -> None:
    sampler = Plain(epochs(4))
    one, other = (
        [d for b in draws(sampler, Next(), batch_size=2, steps=8, seed=3) for d in b]
        for _ in range(2)
    )
    assert one == other
    for draw in one:
        if draw.place == 0:
            assert draw == Draw(draw.number, 0)
        else:
            assert draw.other == draw.place + 1
            assert draw.share == pytest.approx(draw.number // 2 / 8, abs=1e-8)
