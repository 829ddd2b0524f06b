"""The classification benchmark: every network in every arm, trained, tested and compared.

Notable choices:
- Synthetic images stand in training sets only; validation and test are real.
- The best weights are those of the best balanced accuracy on the validation images, in every arm.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from didgen.downstream.benchmark.carry_out import (
    EVALUATION_BATCH,
    Asked,
    OnStep,
    Setup,
    asked_of,
    carry_out,
    fit,
    folder_of,
    record_of,
    write_benchmark,
)
from didgen.downstream.benchmark.classification.job import ClassificationJob
from didgen.downstream.benchmark.classification.summary import classification_outcome
from didgen.downstream.benchmark.job import Training
from didgen.downstream.benchmark.losses import classification_loss
from didgen.downstream.benchmark.recipe import TREATMENT, Arm
from didgen.downstream.benchmark.results import Predictions, Result, read_predictions, write_result
from didgen.downstream.data.images import Images
from didgen.downstream.metrics.classification import balanced_accuracy, correctness, figures
from didgen.downstream.networks.classifiers import build_classifier
from didgen.downstream.pages.classification import classification_page
from didgen.manifests.progress import Progress


def classify(job: ClassificationJob, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Carry a benchmark out in the folder `out`, and return what `benchmark.json` then holds.

    Trainings whose result is there are not made again; one that was stopped begins anew.
    `progress` is called with (steps done, steps of all trainings).
    """
    # Asked of all before any is trained, so that a folder of another recipe is refused at once.
    asked = {training: _asked(job, training) for training in job.trainings}
    results = carry_out(asked, out, partial(_train, job, out), progress)
    test = job.images["test"]
    # What was trained does not hang on lesion ids, which the source may have learned since; the
    # intervals and tests do.
    predictions = {
        t: replace(
            read_predictions(folder_of(out, t), job.classes), keys=test.keys, lesions=test.lesions
        )
        for t in job.trainings
    }
    benchmark = classification_outcome(job, results, predictions)
    write_benchmark(out, benchmark, classification_page(benchmark))
    return benchmark


def _asked(job: ClassificationJob, training: Training) -> Asked:
    images: dict[Any, Images] = dict(job.images)
    if training.arm == TREATMENT and job.synthetic is not None:
        images["synthetic"] = job.synthetic
    return asked_of(job, training, images) | {"classes": list(job.classes)}


def _train(
    job: ClassificationJob, out: Path, training: Training, asked: Asked, on_step: OnStep
) -> Result:
    recipe, folder = job.recipe, folder_of(out, training)
    validation, test = job.images["val"], job.images["test"]

    def setup(accelerator: Accelerator) -> Setup:
        weights = job.starts[training.network.called].weights.file
        network = build_classifier(training.network, len(job.classes), weights)
        images = job.images["train"]
        if training.arm == TREATMENT and job.synthetic is not None:
            images = images + job.synthetic
        loss = classification_loss(
            cast(Arm, training.arm), images.labels, len(job.classes), recipe.focal_gamma
        )
        criterion = loss.to(accelerator.device)

        def score(module: nn.Module) -> float:
            chances = predict(module, validation.pixels, recipe.batch_size)
            return balanced_accuracy(correctness(chances, validation.labels), validation.labels)

        return Setup(
            network,
            images,
            lambda module, batch: criterion(module(batch["pixels"]).float(), batch["label"]),
            score,
            oversampled=training.arm == "oversampled",
        )

    accelerator, network, trained = fit(
        recipe, training, job.evaluate_every, folder, setup, on_step
    )
    with torch.no_grad(), accelerator.autocast():
        chances = predict(network, test.pixels, recipe.batch_size)
    measured = figures(chances, test.labels, job.classes, positive=recipe.positive)
    return write_result(
        folder,
        Predictions(test.keys, test.lesions, test.labels, chances).rows(job.classes),
        # The bare network, whose weights timm loads again.
        network.get_submodule("network") if recipe.keep_weights else None,
        record_of(recipe, asked, accelerator, trained, measured.to_dict(), ("timm",)),
    )


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
