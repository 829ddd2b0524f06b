"""Noise: by all bits of a seed and its try, against numpy's own streams."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.augment.diffusion.noise import TrySeed, generator_of, initial_noise

SEEDS = st.integers(0, 2**64 - 1)
TRIES = st.integers(0, 100)


def test_seeds_that_differ_above_32_bits_have_noise_of_their_own() -> None:
    low, count = 7, 100_000
    seeds = [low + (high << 32) for high in range(count)]
    noise = initial_noise(seeds, (4,)).numpy()
    assert len(np.unique(noise, axis=0)) == count
    # What it is for: torch's own generator takes the low 32 bits alone.
    first, second = (torch.randn(4, generator=torch.Generator().manual_seed(s)) for s in seeds[3:5])
    assert torch.equal(first, second)


@settings(deadline=None)
@given(SEEDS, TRIES)
def test_noise_is_that_of_numpy_by_seed_and_try(seed: int, attempt: int) -> None:
    words = [seed & 0xFFFFFFFF, seed >> 32, attempt]
    wanted = np.random.default_rng(words).standard_normal((4, 8, 8), np.float32)
    noise = initial_noise([(seed, attempt)], (4, 8, 8))
    assert noise.dtype == torch.float32
    np.testing.assert_array_equal(noise[0].numpy(), wanted)
    if seed >= 2**32 or attempt == 0:
        plain = np.random.default_rng([seed, attempt]).standard_normal((4, 8, 8), np.float32)
        np.testing.assert_array_equal(plain, wanted)


@settings(deadline=None)
@given(st.lists(st.tuples(SEEDS, TRIES), min_size=2, max_size=8, unique=True))
def test_noise_hangs_on_its_own_seed_and_try_alone(seeds: list[tuple[int, int]]) -> None:
    together = initial_noise(seeds, (4, 8, 8))
    assert len(torch.unique(together.flatten(1), dim=0)) == len(seeds)
    for place, seed in enumerate(seeds):
        assert torch.equal(initial_noise([seed], (4, 8, 8))[0], together[place])


def test_a_seed_alone_is_its_first_try_and_no_two_addresses_meet() -> None:
    assert torch.equal(initial_noise([5], (9,)), initial_noise([(5, 0)], (9,)))
    # To numpy the lists [5, 3] and [5 + (3 << 32)] are the same.
    assert not torch.equal(initial_noise([(5, 3)], (9,)), initial_noise([5 + (3 << 32)], (9,)))
    assert not torch.equal(initial_noise([(5, 3)], (9,)), initial_noise([(5, 2)], (9,)))


def test_noise_is_standard_normal() -> None:
    noise = initial_noise(range(200), (4, 32, 32)).double()
    count = noise.numel()
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    between = (noise[:-1] * noise[1:]).mean((1, 2, 3))
    assert between.abs().max() < 5 / noise[0].numel() ** 0.5


@settings(deadline=None)
@given(SEEDS, TRIES)
def test_a_schedulers_generator_is_numpys_mersenne_twister(seed: int, attempt: int) -> None:
    words = [seed & 0xFFFFFFFF, seed >> 32, attempt, 1]
    raw = np.random.MT19937(words).random_raw(1300)
    # Small integers are the low bits of a word each; 1300 words are more than two states of 624.
    drawn = torch.randint(0, 2**16, (1300,), generator=generator_of((seed, attempt)))
    np.testing.assert_array_equal(drawn.numpy(), raw % 2**16)


def test_a_schedulers_generator_takes_all_bits_of_its_seed() -> None:
    seeds: list[TrySeed] = [3, 3 + 2**32, 3 + 2**62, (3, 1), (3, 2)]
    drawn = [torch.randn(64, generator=generator_of(seed)) for seed in seeds]
    assert len(torch.unique(torch.stack(drawn), dim=0)) == len(seeds)
    assert torch.equal(drawn[1], torch.randn(64, generator=generator_of(seeds[1])))
    for seed, own in zip(seeds, drawn, strict=True):
        assert not torch.equal(own, initial_noise([seed], (64,))[0])


@pytest.mark.parametrize("seed", [-1, (-1, 0), (3, -1)])
def test_a_negative_seed_is_refused(seed: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        initial_noise([seed], (4,))
