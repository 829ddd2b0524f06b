"""How one training of any benchmark is carried out, asked for and recorded."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shutil import disk_usage, rmtree
from typing import Any, TypeAlias

from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from didgen.downstream.benchmark.checkpoint import Checkpoint
from didgen.downstream.benchmark.job import BenchmarkJob, Training
from didgen.downstream.benchmark.recipe import NOT_ASKED
from didgen.downstream.benchmark.results import CURVES_NAME, training_folder
from didgen.downstream.benchmark.training import (
    Goal,
    Schedule,
    Trained,
    Watch,
    precision_here,
    start_accelerator,
    summary,
    train,
)
from didgen.downstream.data.images import Pictures
from didgen.downstream.data.loader import Batches, TrainingSet
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.fingerprint import fingerprint

PRECISIONS = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}

WORKERS = 4
"""Processes that augment images for a GPU."""

SHARED = Path("/dev/shm")  # noqa: S108 - nothing is written there by name
"""Where Linux has the memory that processes share."""

Asked: TypeAlias = dict[str, Any]
OnStep: TypeAlias = Callable[[int], None] | None


def folder_of(out: Path, training: Training) -> Path:
    """Where a training's files lie in the folder of a benchmark."""
    network = training.network.called
    return training_folder(out, network, training.arm, training.seed, training.real)


def asked_of(job: BenchmarkJob[Any], training: Training, data: Asked) -> Asked:
    """What decides the result of any training, as JSON values. data: what its images are."""
    recipe = job.recipe.model_dump(mode="json", exclude={*NOT_ASKED})
    asked = {
        # Trainings are compared: all of a folder are in one number format.
        "recipe": recipe | {"mixed_precision": precision_here(job.recipe.mixed_precision)},
        "network": training.network.model_dump(mode="json", exclude={"epochs", "weights"}),
        "weights": job.starts[training.network.called].sha256,
        "arm": training.arm,
        "seed": training.seed,
        "steps": training.steps,
        "evaluate_every": job.evaluate_every(training),
        **data,
    }
    if training.real is not None:
        asked["subset"] = {"real": training.real, "seed": [job.recipe.seed, training.seed]}
    return asked


@dataclass(frozen=True)
class Setup:
    """What is trained, on what it draws from, by which loss, and how good it is."""

    network: nn.Module
    images: TrainingSet[Any]
    loss_of: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    score_of: Callable[[nn.Module], float]


@dataclass(frozen=True)
class Place:
    """Where a training's files lie, and what it was asked for."""

    folder: Path
    asked: Asked
    on_step: OnStep = None


def fit(
    job: BenchmarkJob[Any],
    training: Training,
    place: Place,
    setup: Callable[[Accelerator], Setup],
) -> tuple[Accelerator, nn.Module, Trained]:
    """Train what `setup` makes, and leave its curves in the folder of the training.

    `setup` is called when the training's seed is set; the network comes back at its best. One that
    was stopped goes on from its checkpoint, if it took long enough to have one.
    """
    recipe = job.recipe
    checkpoint = Checkpoint(place.folder, fingerprint(place.asked))
    # Curves of a training that was stopped would run into those of this one.
    rmtree(place.folder / CURVES_NAME, ignore_errors=True)
    curves = place.folder / CURVES_NAME
    accelerator = start_accelerator(recipe.mixed_precision, recipe.trackers, curves)
    reported = {"network": training.network.called, "arm": training.arm, "seed": training.seed}
    accelerator.init_trackers("didgen", reported, {"wandb": {"name": str(training)}})
    try:
        set_seed(training.seed)
        prepared = setup(accelerator)
        # On a CPU the network needs every core itself.
        workers = (
            workers_for(prepared.images.images, recipe.batch_size)
            if accelerator.device.type == "cuda"
            else 0
        )
        batches = Batches(
            prepared.images, recipe.batch_size, training.steps, training.seed, workers
        )
        trained = train(
            accelerator,
            prepared.network,
            batches.loaded,
            Goal(prepared.loss_of, prepared.score_of),
            _schedule(job, training),
            Watch(place.on_step, checkpoint),
        )
    except DidgenError as error:
        raise DidgenError(f"{training}: {error}") from None
    finally:
        accelerator.end_training()
    return accelerator, prepared.network, trained


def _schedule(job: BenchmarkJob[Any], training: Training) -> Schedule:
    recipe = job.recipe
    return Schedule(
        steps=training.steps,
        evaluate_every=job.evaluate_every(training),
        patience=recipe.patience,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup=recipe.warmup,
        max_grad_norm=recipe.max_grad_norm,
    )


def workers_for(images: Pictures, batch_size: int) -> int:
    """Processes that augment images for a GPU; none where shared memory has no room for them.

    It holds the images and two batches a process. Containers often have 64 MB of it, and what does
    not fit ends the process without a word.
    """
    taken = sum(part.nbytes for part in vars(images).values() if isinstance(part, Tensor))
    taken += 2 * WORKERS * batch_size * taken // max(1, len(images))
    return WORKERS if not SHARED.is_dir() or disk_usage(SHARED).free > taken else 0


def record_of(
    job: BenchmarkJob[Any],
    asked: Asked,
    run: tuple[Accelerator, Trained],
    figures: dict[str, Any],
    packages: Iterable[str],
) -> dict[str, Any]:
    """What `result.json` says of a training besides its files."""
    accelerator, trained = run
    seen = {"images_seen": trained.steps * job.recipe.batch_size}
    return {
        "asked": asked,
        "training": summary(trained) | seen,
        "figures": figures,
        "versions": {name: version(name) for name in ("didgen", "torch", *packages)},
        "device": f"{accelerator.device.type}, {PRECISIONS[accelerator.mixed_precision]}",
    }
