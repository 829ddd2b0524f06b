"""Noise: what a sample begins with, and what a scheduler adds on its way, from [seed, try].

Notable choices:
- numpy draws, because it takes a seed of any length. torch's generator on the CPU takes 32 bits:
  among a million samples about 116 pairs would share their noise.
- Each try of a sample has a noise of its own, addressed and not advanced: nothing of an earlier
  try, or of another sample, decides it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

TrySeed = int | tuple[int, int]
"""The planned seed of a sample, below 2^64, and the number of its try; alone it is the first, 0."""

FIRST, LATER = 0, 1
"""The last word of the entropy: of a sample's first noise, and of what a scheduler adds to it."""


def initial_noise(seeds: Sequence[TrySeed], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of each sample, (B, *shape) float32, on the CPU.

    That of (seed, try) is `np.random.default_rng([seed, try]).standard_normal(shape, np.float32)`
    for seeds from 2^32 on, as all planned ones but one in 2^31 are, and for every first try.
    """
    generators = (np.random.default_rng(_entropy(seed, FIRST)) for seed in seeds)
    drawn = [generator.standard_normal(shape, np.float32) for generator in generators]
    return torch.from_numpy(np.stack(drawn))


def generator_of(seed: TrySeed) -> torch.Generator:
    """A generator on the CPU for schedulers that draw as they go, from all bits of seed and try.

    Its Mersenne Twister is that of `np.random.MT19937([low word, high word, try, 1])`, put into
    torch's by its state: `manual_seed` would take 32 bits alone.
    """
    drawn = np.random.MT19937(_entropy(seed, LATER)).state["state"]
    generator = torch.Generator()
    # Words of 64 bits: the seed; how many are left, and a flag; the next one; 624 of 32 bits.
    state = generator.get_state().numpy().view(np.uint64).copy()
    left = len(drawn["key"]) - drawn["pos"] + 1
    state[1] = np.uint64(left) | np.uint64(1 << 32)
    state[2] = np.uint64(drawn["pos"])
    state[3 : 3 + len(drawn["key"])] = drawn["key"]
    generator.set_state(torch.from_numpy(state.view(np.uint8)))
    return generator


def _entropy(seed: TrySeed, stream: int) -> list[int]:
    """The words of a seed and its try. Each has a fixed place, so that no two addresses meet."""
    number, attempt = seed if isinstance(seed, tuple) else (seed, 0)
    return [number & 0xFFFFFFFF, number >> 32, attempt, stream]
