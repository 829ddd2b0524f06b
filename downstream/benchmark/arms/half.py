"""Batches with a fixed share of synthetic images, whatever the size of the run."""

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import Blend


class Half(Use):
    """Every batch half real and half synthetic; `share` for another part."""

    name = "half"
    share = 0.5

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        blend = Blend(given.real_epochs, given.synthetic_epochs, given.share)
        return TrainingSet(given.both, blend, len(given.real))
