"""The classification benchmark: every network in every arm, trained, tested and compared.

Notable choices:
- Synthetic images stand in training sets only; validation and test are real.
- The best weights are those of the best balanced accuracy on the validation images, in every arm.
"""

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from numpy.typing import NDArray
from torch import nn

from downstream.classification import (
    balanced_accuracy,
    correctness,
    figures,
)
from downstream.classifiers import build_classifier
from downstream.data import Images, Progress, loader
from downstream.job import Job, Training
from downstream.losses import classification_loss
from downstream.outcome import outcome
from downstream.recipe import TRACKING_ONLY, TREATMENT
from downstream.results import (
    CURVES_NAME,
    Predictions,
    Result,
    find_result,
    read_predictions,
    training_folder,
    write_result,
)
from downstream.tables import benchmark_page
from downstream.training import Schedule, start_accelerator, summary, train
from manifests.errors import DidgenError
from manifests.files import write_bytes, write_json

BENCHMARK_NAME, PAGE_NAME = "benchmark.json", "benchmark.md"

EVALUATION_BATCH = 64

PRECISIONS = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}

WORKERS = 4
"""Processes that augment images for a GPU."""


def classify(job: Job, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Carry a benchmark out in the folder `out`, and return what `benchmark.json` then holds.

    Trainings whose result is there are not made again; one that was stopped begins anew.
    `progress` is called with (steps done, steps of all trainings).
    """
    total = sum(training.steps for training in job.trainings)
    done = 0
    results: dict[Training, Result] = {}
    # Asked of all before any is trained, so that a folder of another recipe is refused at once.
    asked = {training: _asked(job, training) for training in job.trainings}
    for training in job.trainings:
        if result := find_result(_folder(out, training), asked[training]):
            results[training] = result
    for training in job.trainings:
        if training not in results:
            advance = None if progress is None else _offset(progress, done, total)
            results[training] = _train(job, training, out, asked[training], advance)
        done += training.steps
        if progress:
            progress(done, total)
    predictions = {t: read_predictions(_folder(out, t), job.classes) for t in job.trainings}
    benchmark = outcome(job, results, predictions)
    write_json(out / BENCHMARK_NAME, benchmark)
    write_bytes(out / PAGE_NAME, benchmark_page(benchmark).encode())
    return benchmark


def _folder(out: Path, training: Training) -> Path:
    return training_folder(out, training.network.called, training.arm, training.seed)


def _asked(job: Job, training: Training) -> dict[str, Any]:
    """What decides the result of a training, as JSON values."""
    apart = {"source", "run", "networks", "arms", "seeds", "epochs", *TRACKING_ONLY}
    made = training.arm == TREATMENT and job.made is not None
    return {
        "recipe": job.recipe.model_dump(mode="json", exclude=apart),
        "network": training.network.model_dump(mode="json", exclude={"epochs", "weights"}),
        "weights": job.starts[training.network.called].sha256,
        "arm": training.arm,
        "seed": training.seed,
        "steps": training.steps,
        "classes": list(job.classes),
        "data": dict(job.data) if made else {"real": job.data["real"]},
        "images": {split: len(part) for split, part in job.images.items()}
        | ({"synthetic": len(job.made)} if made and job.made is not None else {}),
    }


def _train(
    job: Job,
    training: Training,
    out: Path,
    asked: dict[str, Any],
    on_step: Callable[[int], None] | None,
) -> Result:
    recipe, folder = job.recipe, _folder(out, training)
    # Curves of a training that was stopped would run into those of this one.
    shutil.rmtree(folder / CURVES_NAME, ignore_errors=True)
    accelerator = start_accelerator(recipe.mixed_precision, recipe.trackers, folder / CURVES_NAME)
    told = {"network": training.network.called, "arm": training.arm, "seed": training.seed}
    accelerator.init_trackers("didgen", told, {"wandb": {"name": str(training)}})
    set_seed(training.seed)
    weights = job.starts[training.network.called].weights.file
    network = build_classifier(training.network, len(job.classes), weights)
    images = job.images["train"]
    if training.arm == TREATMENT and job.made is not None:
        images = images + job.made
    loss = classification_loss(training.arm, images.labels, len(job.classes), recipe.focal_gamma)
    criterion = loss.to(accelerator.device)
    batches = loader(
        images,
        batch_size=recipe.batch_size,
        steps=training.steps,
        seed=training.seed,
        oversampled=training.arm == "oversampled",
        # On a CPU the network needs every core itself.
        workers=WORKERS if accelerator.device.type == "cuda" else 0,
    )
    validation = job.images["val"]

    def score(module: nn.Module) -> float:
        chances = predict(module, validation, accelerator)
        return balanced_accuracy(correctness(chances, validation.labels), validation.labels)

    try:
        trained = train(
            accelerator,
            network,
            batches,
            lambda module, batch: criterion(module(batch["pixels"]).float(), batch["label"]),
            score,
            Schedule(
                steps=training.steps,
                evaluate_every=job.evaluate_every,
                patience=recipe.patience,
                learning_rate=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                warmup=recipe.warmup,
                max_grad_norm=recipe.max_grad_norm,
            ),
            on_step,
        )
    except DidgenError as error:
        raise DidgenError(f"{training}: {error}") from None
    finally:
        accelerator.end_training()
    test = job.images["test"]
    with torch.no_grad(), accelerator.autocast():
        chances = predict(network, test, accelerator)
    measured = figures(chances, test.labels, job.classes, positive=recipe.positive)
    return write_result(
        folder,
        Predictions(test.keys, test.lesions, test.labels, chances),
        job.classes,
        network.network if recipe.keep_weights else None,
        {
            "asked": asked,
            "training": summary(trained),
            "figures": measured.to_dict(),
            "versions": {name: version(name) for name in ("didgen", "timm", "torch")},
            "device": f"{accelerator.device.type}, {PRECISIONS[recipe.mixed_precision]}",
        },
    )


def predict(network: nn.Module, images: Images, accelerator: Accelerator) -> NDArray[np.float64]:
    """Probabilities (N, C) of images as they are, by a network in eval mode."""
    parts = [
        F.softmax(network(batch.to(accelerator.device)).double(), 1).cpu()
        for batch in images.pixels.split(EVALUATION_BATCH)
    ]
    return torch.cat(parts).numpy()


def _offset(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda step: progress(before + step, total)
