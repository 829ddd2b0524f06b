"""Oversampling whose repeats are synthetic: the class counts stay, the repetition goes."""

from dataclasses import dataclass

import numpy as np

from didgen.downstream.benchmark.arms.use import Given, P, Use, labels_of
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import Balanced, Places, Plain


@dataclass(frozen=True)
class Replaced(Balanced):
    """Balanced epochs of the real images, each repeat replaced with a probability.

    `members` are the labels of the real images, `synthetic` those of the images behind them. A
    class without synthetic images keeps its repeats.
    """

    synthetic: Places = ()  # type: ignore[assignment]
    probability: float = 0.5

    def repeats(self, places: Places, rng: np.random.Generator) -> Places:
        if not len(places):
            return places
        own = np.flatnonzero(self.synthetic == self.members[places[0]]) + len(self.members)
        chosen = rng.random(len(places)) < self.probability
        if not len(own) or not chosen.any():
            return places
        # Each of the class's samples once before any comes twice.
        rounds = -(-int(chosen.sum()) // len(own))
        drawn = np.concatenate([rng.permutation(own) for _ in range(rounds)])
        replaced = places.copy()
        replaced[chosen] = drawn[: int(chosen.sum())]
        return replaced


class Replace(Use):
    """`oversampled`, each repeat replaced by a synthetic image of its class; `share` is how often.

    Equal steps and equal class counts: the difference to `oversampled` is the images alone.
    """

    name = "replace"
    tasks = ("classify",)
    share = 0.5

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        assert given.synthetic is not None, "the job gives the samples of the run"
        own, theirs = labels_of(given.real), labels_of(given.synthetic)
        epochs = Replaced(own, synthetic=theirs, probability=given.share)
        return TrainingSet(given.both, Plain(epochs), len(given.real))
