"""A real image mixed with the synthetic one that its own mask guided (after MCPMix)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet, mixed_pixels
from didgen.downstream.data.samplers import Plain


@dataclass(frozen=True)
class Twins:
    """Twins by the place of the real image: one of them by chance, moved as it is.

    The share of the twin falls along a line from `share` to 0 at the end of the training.
    """

    places: Mapping[int, Sequence[int]]
    share: float
    aligned: bool = True

    def partner(
        self, rng: np.random.Generator, place: int, done: float
    ) -> tuple[int, float] | None:
        twins = self.places.get(place)
        return (int(rng.choice(twins)), self.share * (1 - done)) if twins else None

    def mix(self, own: dict[str, Any], other: dict[str, Any], share: float) -> dict[str, Any]:
        # The real mask stays the label: the twin was only asked to have it.
        pixels = mixed_pixels(own["pixels"], other["pixels"], share) if share else own["pixels"]
        return {**own, "pixels": pixels}


class Twin(Use):
    """Real pairs, each mixed with a synthetic image that its mask guided, less and less.

    A real pair without a twin stays as it is; a synthetic pair whose layout is none of the real
    pairs is not used.
    """

    name = "twin"
    tasks = ("segment",)
    share = 0.5

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        assert given.synthetic is not None, "the job gives the samples of the run"
        real = {key: place for place, key in enumerate(given.real.keys)}
        places: dict[int, list[int]] = defaultdict(list)
        for place, key in enumerate(given.synthetic.keys, len(given.real)):
            if (guide := given.layouts.get(key)) in real:
                places[real[guide]].append(place)
        mixing = Twins(dict(places), given.share)
        return TrainingSet(given.both, Plain(given.real_epochs), len(given.real), mixing)
