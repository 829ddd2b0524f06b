"""The controls without synthetic images: the real ones for equal steps, or for equal epochs."""

from didgen.downstream.benchmark.arms.use import Given, P, Use
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import Plain


class Original(Use):
    """The real images, for as many steps as every other arm."""

    name = "original"
    role = "control"
    of_run = False

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        return TrainingSet(given.real, Plain(given.real_epochs), len(given.real))


class OriginalEpochs(Original):
    """The real images for as many epochs as the union has, which are fewer steps."""

    name = "original-epochs"
    epochs = True
