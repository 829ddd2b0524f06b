"""The task: what one kind of benchmark does with a network, where the harness does all the rest."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from didgen.downstream.benchmark.arms.record import Arm
from didgen.downstream.benchmark.arms.use import Given
from didgen.downstream.benchmark.job import BenchmarkJob, Training
from didgen.downstream.benchmark.training_result import Result
from didgen.downstream.data.images import Pictures
from didgen.downstream.networks.network import Network
from didgen.downstream.stats.bootstrap import bootstrap_mean
from didgen.downstream.stats.paired import Interval, unit_means, unit_strata

P = TypeVar("P", bound=Pictures)

EVALUATION_BATCH = 64
"""Images that a judge sees at once; a training evaluates with the batch that it trains with, for
which there is memory."""


class Predicted(Protocol):
    """Predictions on some images, with the keys and units of these."""

    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def units(self) -> tuple[str, ...]: ...


E = TypeVar("E", bound=Predicted)


@dataclass(frozen=True)
class Score:
    """A score of each image by which arms are compared."""

    name: str
    higher_is_better: bool = True


class Task(ABC, Generic[P, E]):
    """One kind of benchmark.

    scores: the first one decides. packages: those whose versions a result names. told: the figures
    that tables have, and where they stand among those of a result.
    """

    scores: ClassVar[tuple[Score, ...]]
    packages: ClassVar[tuple[str, ...]]
    told: ClassVar[Mapping[str, Callable[[Mapping[str, Any]], float | None]]]

    def __init__(self, job: BenchmarkJob[P]) -> None:
        self.job = job

    @property
    def primary(self) -> Score:
        """The score that decides."""
        return self.scores[0]

    @abstractmethod
    def build(self, network: Network, weights: Path | None) -> nn.Module:
        """The network, from these weights or from nothing."""

    @abstractmethod
    def loss(self, arm: Arm | None) -> nn.Module:
        """The loss of an arm, of outputs and a batch; None is a network of the filter."""

    @abstractmethod
    def outputs(self, module: nn.Module, pixels: Tensor) -> Any:
        """Whatever the loss takes, from a network in training."""

    @abstractmethod
    def score(self, module: nn.Module, images: P) -> float:
        """How good a network in eval mode is on these images; of the best the weights are kept."""

    @abstractmethod
    def predict(self, module: nn.Module, images: P) -> E:
        """The predictions of a network in eval mode."""

    @abstractmethod
    def rows(self, predicted: E) -> Iterator[dict[str, Any]]:
        """One row an image, as a file of predictions holds it."""

    @abstractmethod
    def named(self, predicted: E, keys: tuple[str, ...], units: tuple[str, ...]) -> E:
        """The same predictions, of images with these keys and units."""

    def nameless(self, predicted: E, part: str) -> E:
        """Predictions on a part as they may be published: without names of patients."""
        name = self.job.unit_names[part]
        return self.named(predicted, predicted.keys, tuple(map(name, predicted.units)))

    @abstractmethod
    def on_disk(self, folder: Path, part: str) -> E:
        """The predictions of a training on a part of the images, as its file has them."""

    def read(self, folder: Path, part: str) -> E:
        """The predictions of a training on a part of the images."""
        # On disk units are pseudonyms. What was trained does not hang on ids of lesions and
        # patients, which the source may have learned since; the intervals and tests do.
        images = self.images_of(part)
        return self.named(self.on_disk(folder, part), images.keys, images.units)

    @abstractmethod
    def figures(self, predicted: E) -> dict[str, Any]:
        """The figures of predictions, as JSON values."""

    @abstractmethod
    def by_image(self, predicted: E) -> Mapping[str, NDArray[Any]]:
        """Each score of each image, (N,)."""

    def strata(self, predicted: E) -> NDArray[np.int64] | None:
        """The classes (N,) that an interval draws units within; None where all are alike."""
        return None

    def interval(self, scores: NDArray[np.float64], predicted: E) -> Interval | None:
        """The interval over units of the mean of a deciding score (N,)."""
        labels, units = self.strata(predicted), predicted.units
        strata = None if labels is None else unit_strata(labels, units)
        return bootstrap_mean(unit_means(scores, units), strata=strata)

    def details(self, reported: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Whatever else an arm's row says of its test, from the figures of each seed."""
        return {}

    def images_of(self, part: str) -> P:
        """The images of a part that is tested: val, test or outside."""
        return self.job.parts[part]

    def asked(self, training: Training) -> dict[str, Any]:
        """What decides a training of this task besides that of any."""
        return {}

    def kept(self, training: Training) -> Sequence[int] | None:
        """The places of the samples that a filter keeps for a training; None for all."""
        return None

    def given(self, training: Training) -> Given[P]:
        """What the arm of a training may use."""
        return self.job.given(training, self.kept(training))

    def judge(self, judge: Training, out: Path, asked: dict[str, Any], on_step: Any) -> Result:
        """Train a network of the filter; a task without a filter has none."""
        raise NotImplementedError

    def learn(self, out: Path, judges: Iterable[Training]) -> None:
        """Take in the judgements of these networks of the filter."""

    def tell(self, out: Path) -> None:
        """Write what was learned, when it is known that the folder is of this recipe."""


def primary_scores(task: Task[Any, E], predicted: Sequence[E]) -> NDArray[np.float64]:
    """The deciding score of each seed on each image, (S, N)."""
    name = task.primary.name
    return np.stack([np.asarray(task.by_image(one)[name], np.float64) for one in predicted])
