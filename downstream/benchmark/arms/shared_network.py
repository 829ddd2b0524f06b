"""The control for what a generator's training images are worth by themselves."""

import numpy as np

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import SYNTHETIC, Epochs, Phases, Plain


class SharedNetwork(Use):
    """The real images that the generator saw for a share of the steps, and then the k real ones.

    A centre that shares a generator could share a network instead. This arm says what that would
    give: a gain of synthetic images beyond it comes from the images, and not from what the
    generator's own training images hold. Where the generator saw the k real images alone, the arm
    is `original`. Images that the task cannot use (no mask, a class left out, a near-duplicate)
    are not among those it is trained on first; their number stands in the record.
    """

    name = "shared-network"
    role = "control"
    share = 0.5

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        real, shared = given.real, given.shared
        assert shared is not None, "the job gives what the generator saw"
        both = real + shared
        first = Epochs(np.arange(len(real), len(both)), SYNTHETIC)
        phases = Phases(Plain(first), Plain(given.real_epochs), given.share)
        return TrainingSet(both, phases, len(both))
