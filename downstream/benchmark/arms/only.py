"""Synthetic images alone, tested on real ones: what a run could stand for by itself."""

import numpy as np

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import Epochs, Plain


class Only(Use):
    """The samples of the run and no real image."""

    name = "only"

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        images = given.synthetic
        assert images is not None, "the job gives the samples of the run"
        return TrainingSet(images, Plain(Epochs(np.arange(len(images)))), 0)
