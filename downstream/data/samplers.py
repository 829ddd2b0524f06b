"""Samplers: which images a training draws, batch by batch, and which of them it mixes.

All that is random follows from the training's seed and the number of the epoch or draw.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

ALONE = -1
"""The `other` of a draw that is not mixed."""

REAL, SYNTHETIC = 0, 1
"""Salts of streams: what tells the orders of two streams of one training apart."""


class Draw(NamedTuple):
    """One image of a training: its number, its place, and whatever it is mixed with.

    share: the part that the image at `other` has, as the mixing understands it.
    """

    number: int
    place: int
    other: int = ALONE
    share: float = 0.0


class Stream(Protocol):
    """An endless order of places."""

    def places(self, seed: int) -> Iterator[int]:
        """The places in their order."""
        ...


class Sampler(Protocol):
    """The places of every batch of a training."""

    def batches(self, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
        """As many batches as there are steps, each of `batch_size` places."""
        ...


class Mixing(Protocol):
    """How two samples become one."""

    @property
    def aligned(self) -> bool:
        """Whether both samples are moved and coloured by the same draw."""
        ...

    def partner(
        self, rng: np.random.Generator, place: int, done: float
    ) -> tuple[int, float] | None:
        """The other place and its share, if any; done: the part of the steps that is over."""
        ...

    def mix(self, own: dict[str, Any], other: dict[str, Any], share: float) -> dict[str, Any]:
        """The sample that a network then trains on."""
        ...


@dataclass(frozen=True)
class Epochs:
    """Epoch after epoch, each a seeded permutation of the same places."""

    members: Places
    salt: int = REAL

    def places(self, seed: int) -> Iterator[int]:
        for number in count():
            rng = np.random.default_rng([seed, number, *([self.salt] if self.salt else [])])
            yield from rng.permutation(self.epoch(rng)).tolist()

    def epoch(self, rng: np.random.Generator) -> Places:
        """The places of one epoch, unordered."""
        return self.members


@dataclass(frozen=True)
class Balanced(Epochs):
    """Epochs with every class as often as the largest: its images are repeated whole times, and a
    random part of them once more. `members` are the labels here, one a place.
    """

    def epoch(self, rng: np.random.Generator) -> Places:
        groups = [np.flatnonzero(self.members == label) for label in np.unique(self.members)]
        largest = max(len(group) for group in groups)
        parts = []
        for group in groups:
            whole, rest = divmod(largest, len(group))
            more = rng.choice(group, rest, replace=False)
            parts += [group, self.repeats(np.concatenate([np.tile(group, whole - 1), more]), rng)]
        return np.concatenate(parts)

    def repeats(self, places: Places, rng: np.random.Generator) -> Places:
        """What stands for the repeats of a class: themselves."""
        return places


@dataclass(frozen=True)
class Plain:
    """Batches that take the places of one stream as they come."""

    stream: Stream

    def batches(self, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
        places = self.stream.places(seed)
        for _ in range(steps):
            yield list(islice(places, batch_size))


@dataclass(frozen=True)
class Blend:
    """Batches with a fixed share of a second stream.

    Where the share of a batch is no whole number, batches differ by one, and their sum keeps it.
    """

    first: Stream
    second: Stream
    share: float

    def batches(self, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
        first, second = self.first.places(seed), self.second.places(seed)
        for step in range(steps):
            before, after = (int(self.share * batch_size * n + 1e-9) for n in (step, step + 1))
            taken = after - before
            yield [*islice(first, batch_size - taken), *islice(second, taken)]


@dataclass(frozen=True)
class Phases:
    """One sampler for a share of the steps, and then another."""

    first: Sampler
    then: Sampler
    share: float

    def batches(self, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
        switch = round(self.share * steps)
        yield from self.first.batches(batch_size, switch, seed)
        yield from self.then.batches(batch_size, steps - switch, seed)


def draws(
    sampler: Sampler, mixing: Mixing | None, *, batch_size: int, steps: int, seed: int
) -> Iterator[list[Draw]]:
    """The draws of every batch, numbered through the training, each with its partner if any."""
    for step, places in enumerate(sampler.batches(batch_size, steps, seed)):
        batch = [Draw(step * batch_size + n, place) for n, place in enumerate(places)]
        if mixing is not None:
            batch = [_partnered(draw, mixing, seed, step / steps) for draw in batch]
        yield batch


def _partnered(draw: Draw, mixing: Mixing, seed: int, done: float) -> Draw:
    # A salt keeps these apart from the orders of epochs.
    rng = np.random.default_rng([seed, draw.number, 2])
    found = mixing.partner(rng, draw.place, done)
    return draw if found is None else Draw(draw.number, draw.place, *found)
