"""Synthetic images first, real ones alone after them."""

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import Phases, Plain


class First(Use):
    """Synthetic images for a share of the steps, then the real ones: they have the last word."""

    name = "first"
    share = 0.5

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        phases = Phases(Plain(given.synthetic_epochs), Plain(given.real_epochs), given.share)
        return TrainingSet(given.both, phases, len(given.real))
