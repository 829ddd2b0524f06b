"""The use: how an arm makes a training set of real images and those of a run.

To add one, write a module with a class here and name it in `registry`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, Literal, TypeAlias, TypeVar

import numpy as np

from didgen.downstream.data.images import Images, Pictures
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.samplers import REAL, SYNTHETIC, Epochs, Places

P = TypeVar("P", bound=Pictures)

Task: TypeAlias = Literal["classify", "segment"]

Role: TypeAlias = Literal["control", "rival", "use"]
"""control: real images alone, as they are. rival: a cheap way to get more from real images.
use: a way to use the samples of a run; validation chooses one of them."""


@dataclass(frozen=True)
class Given(Generic[P]):
    """What an arm may use: real images of its scale, samples of its run, what the generator saw.

    layouts: by a sample's key, the key of the real image whose mask guided it. share, weight: as
    the arm says.
    """

    real: P
    synthetic: P | None = None
    shared: P | None = None
    layouts: Mapping[str, str] = field(default_factory=dict)
    share: float = 0.0
    weight: float = 1.0

    @property
    def both(self) -> P:
        """The real images, and behind them the synthetic ones."""
        return self.real if self.synthetic is None else self.real + self.synthetic

    @property
    def real_epochs(self) -> Epochs:
        """Epochs of the real images, the same as those of `original`."""
        return Epochs(np.arange(len(self.real)), REAL)

    @property
    def synthetic_epochs(self) -> Epochs:
        """Epochs of the synthetic images, by their places in `both`."""
        return Epochs(np.arange(len(self.real), len(self.both)), SYNTHETIC)


class Use(ABC):
    """One way to train.

    share: the default of an arm's `share`; None where it takes none. of_run: whether it needs a
    run. epochs: whether its epochs, and not its steps, are those of the other arms. focal: whether
    its loss is focal loss.
    """

    name: ClassVar[str]
    role: ClassVar[Role] = "use"
    tasks: ClassVar[tuple[Task, ...]] = ("classify", "segment")
    share: ClassVar[float | None] = None
    of_run: ClassVar[bool] = True
    epochs: ClassVar[bool] = False
    focal: ClassVar[bool] = False
    filtered: ClassVar[bool] = False

    def training_set(self, given: Given[P]) -> TrainingSet[P]:
        """What a training in this use draws from; synthetic samples weigh what the arm says."""
        made = self.drawn(given)
        if given.weight == 1.0:
            return made
        weights = np.ones(len(made.images), np.float32)
        weights[made.real :] = given.weight
        return replace(made, weights=weights)

    @abstractmethod
    def drawn(self, given: Given[P]) -> TrainingSet[P]:
        """The images and the order in which they are drawn."""


def labels_of(images: Pictures) -> Places:
    """The labels of labelled images, which the uses of classifiers have."""
    assert isinstance(images, Images), "a use of classifiers has labelled images"
    return images.labels
