"""Cheap rivals of class balance: rare classes drawn more often, weighted more, or focal loss."""

import numpy as np

from didgen.downstream.benchmark.arms.use import Given, P, Use, labels_of
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import Balanced, Plain


class Oversampled(Use):
    """Rare classes repeated up to the largest one."""

    name = "oversampled"
    role = "rival"
    tasks = ("classify",)
    of_run = False

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        return TrainingSet(given.real, Plain(Balanced(labels_of(given.real))), len(given.real))


class ClassWeighted(Use):
    """Cross-entropy with the weight N / (C n_c) for an image of a class with n_c images."""

    name = "class-weighted"
    role = "rival"
    tasks = ("classify",)
    of_run = False

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        labels = labels_of(given.real)
        _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        weights = (len(labels) / (len(sizes) * sizes))[classes].astype(np.float32)
        images = given.real
        return TrainingSet(images, Plain(given.real_epochs), len(images), weights=weights)


class Focal(Use):
    """Focal loss (Lin et al., ICCV 2017), which spares the images that are easy."""

    name = "focal"
    role = "rival"
    tasks = ("classify",)
    of_run = False
    focal = True

    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        return TrainingSet(given.real, Plain(given.real_epochs), len(given.real))
