"""The paper's use: real and synthetic images in one training set, all alike."""

import numpy as np

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import Epochs, Plain


class Union(Use):
    """Epochs over real and synthetic images together."""

    name = "union"

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        both = given.both
        return TrainingSet(both, Plain(Epochs(np.arange(len(both)))), len(given.real))


class Filter(Union):
    """The union with those synthetic pairs that the out-of-fold network agrees with."""

    name = "filter"
    tasks = ("segment",)
    filtered = True
