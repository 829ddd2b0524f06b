"""The classification benchmark: every network in every arm, trained, chosen from, tested.

Notable choices:
- On all real images the best weights are those of the best balanced accuracy on the validation
  images, in every arm; at a scale of scarcity they are those of the last step.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from didgen.downstream.benchmark.arms.record import Arm
from didgen.downstream.benchmark.carry_out import alone, carry_out
from didgen.downstream.benchmark.classification.job import ClassificationJob
from didgen.downstream.benchmark.classification.summary import SUMMARISED, class_details
from didgen.downstream.benchmark.job import Training
from didgen.downstream.benchmark.losses import ClassLoss
from didgen.downstream.benchmark.plots import draw_scarcity
from didgen.downstream.benchmark.results import FILES_OF, Predictions, read_predictions
from didgen.downstream.benchmark.summary import outcome, write_benchmark
from didgen.downstream.benchmark.task import EVALUATION_BATCH, Score, Task
from didgen.downstream.data.images import Images, counts
from didgen.downstream.metrics.classification import (
    balanced_accuracy,
    correctness,
    figures,
    log_losses,
)
from didgen.downstream.networks.classifiers import build_classifier
from didgen.downstream.networks.network import Network
from didgen.downstream.pages.classification import classification_page
from didgen.downstream.stats.comparison import balanced
from didgen.manifests.progress import Progress


def classify(job: ClassificationJob, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Carry a benchmark out in the folder `out`, and return what `benchmark.json` then holds.

    Trainings whose result is there are not made again; a long one that was stopped goes on.
    `progress` is called with (steps done, steps of all trainings).
    """
    task = Classification(job)
    with alone(job, out):
        findings = carry_out(task, out, progress)
        benchmark = {
            **outcome(task, findings),
            "classes": list(job.classes),
            "images": {name: counts(part, job.classes) for name, part in job.parts.items()},
        }
        benchmark["plots"] = draw_scarcity(benchmark, out)
        write_benchmark(out, benchmark, classification_page(benchmark))
    return benchmark


class Classification(Task[Images, Predictions]):
    """What a benchmark does with classifiers."""

    scores = (
        Score("balanced accuracy"),
        Score("accuracy"),
        Score("log-loss", higher_is_better=False),
    )
    packages = ("timm",)
    told = SUMMARISED
    job: ClassificationJob

    def build(self, network: Network, weights: Path | None) -> nn.Module:
        return build_classifier(network, len(self.job.classes), weights)

    def loss(self, arm: Arm | None) -> nn.Module:
        focal = arm is not None and arm.how.focal
        return ClassLoss(self.job.recipe.focal_gamma if focal else None)

    def outputs(self, module: nn.Module, pixels: Tensor) -> Tensor:
        return module(pixels).float()

    def score(self, module: nn.Module, images: Images) -> float:
        chances = predict(module, images.pixels, self.job.recipe.batch_size)
        return balanced_accuracy(correctness(chances, images.labels), images.labels)

    def predict(self, module: nn.Module, images: Images) -> Predictions:
        chances = predict(module, images.pixels, self.job.recipe.batch_size)
        return Predictions(images.keys, images.units, images.labels, chances)

    def rows(self, predicted: Predictions) -> Iterator[dict[str, Any]]:
        return predicted.rows(self.job.classes)

    def named(
        self, predicted: Predictions, keys: tuple[str, ...], units: tuple[str, ...]
    ) -> Predictions:
        return replace(predicted, keys=keys, units=units)

    def on_disk(self, folder: Path, part: str) -> Predictions:
        return read_predictions(folder, self.job.classes, FILES_OF[part])

    def figures(self, predicted: Predictions) -> dict[str, Any]:
        job = self.job
        found = figures(
            predicted.probabilities, predicted.labels, job.classes, positive=job.recipe.positive
        )
        return found.to_dict()

    def by_image(self, predicted: Predictions) -> Mapping[str, NDArray[Any]]:
        right = correctness(predicted.probabilities, predicted.labels)
        return {
            "balanced accuracy": balanced(right, predicted.labels, predicted.units),
            "accuracy": right,
            "log-loss": log_losses(predicted.probabilities, predicted.labels),
        }

    def strata(self, predicted: Predictions) -> NDArray[np.int64]:
        return predicted.labels

    def details(self, reported: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return class_details(reported, self.job.classes)

    def asked(self, training: Training) -> dict[str, Any]:
        return {"classes": list(self.job.classes)}


def predict(
    network: nn.Module, pixels: Tensor, batch_size: int = EVALUATION_BATCH
) -> NDArray[np.float64]:
    """Probabilities (N, C) of images (N, 3, S, S) uint8 as they are, by a network in eval mode."""
    device = next(network.parameters()).device
    parts = [
        # Apple's GPUs have no float64.
        F.softmax(network(batch.to(device)).cpu().double(), 1)
        for batch in pixels.split(batch_size)
    ]
    return torch.cat(parts).numpy()
