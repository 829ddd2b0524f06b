"""Carrying out: how the trainings of any of them are carried out, asked for and recorded."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shutil import disk_usage, rmtree
from typing import Any, TypeAlias

from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from didgen.downstream.benchmark.job import BenchmarkJob, Training
from didgen.downstream.benchmark.recipe import TRACKING_ONLY, BenchmarkRecipe
from didgen.downstream.benchmark.results import CURVES_NAME, Result, find_result, training_folder
from didgen.downstream.benchmark.training import (
    Schedule,
    Trained,
    precision_here,
    start_accelerator,
    summary,
    train,
)
from didgen.downstream.data.images import Pictures
from didgen.downstream.data.loader import loader
from didgen.downstream.pages.document import BENCHMARK_NAME, Block, markdown
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes, write_json
from didgen.manifests.progress import Progress

PAGE_NAME = "benchmark.md"

EVALUATION_BATCH = 64
"""Images that a judge sees at once; a training evaluates with the batch that it trains with, for
which there is memory."""

PRECISIONS = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}

WORKERS = 4
"""Processes that augment images for a GPU."""

SHARED = Path("/dev/shm")  # noqa: S108 - nothing is written there by name
"""Where Linux has the memory that processes share."""

Asked: TypeAlias = dict[str, Any]
OnStep: TypeAlias = Callable[[int], None] | None
Make: TypeAlias = Callable[[Training, Asked, OnStep], Result]


def folder_of(out: Path, training: Training) -> Path:
    """Where a training's files lie in the folder of a benchmark."""
    network = training.network.called
    return training_folder(out, network, training.arm, training.seed, training.real)


def carry_out(
    asked: Mapping[Training, Asked], out: Path, make: Make, progress: Progress | None = None
) -> dict[Training, Result]:
    """The results of trainings in their order: those that are there, and the others made by `make`.

    A training that was stopped begins anew. `progress` is called with (steps done, all steps).
    """
    results = finished(asked, out)
    total = sum(training.steps for training in asked)
    done = 0
    for training, values in asked.items():
        if training not in results:
            advance = None if progress is None else _offset(progress, done, total)
            results[training] = make(training, values, advance)
        done += training.steps
        if progress:
            progress(done, total)
    return results


def finished(asked: Mapping[Training, Asked], out: Path) -> dict[Training, Result]:
    """The results that are there; one that was asked for otherwise is a `DidgenError`."""
    found = {t: find_result(folder_of(out, t), values) for t, values in asked.items()}
    return {training: result for training, result in found.items() if result is not None}


def asked_of(
    job: BenchmarkJob[Any],
    training: Training,
    images: Mapping[Any, Pictures],
    apart: Iterable[str] = (),
) -> Asked:
    """What decides the result of any training, as JSON values.

    images: what it sees, synthetic ones too. apart: fields of the recipe that decide nothing here,
    besides those that are in every recipe.
    """
    # What `run`, `drop_copies` and `reviewed` come to stands in the fingerprint of the data.
    common = {"source", "run", "drop_copies", "reviewed", "networks", "arms", "seeds", "epochs"}
    recipe = job.recipe.model_dump(mode="json", exclude=common | TRACKING_ONLY | {*apart})
    # Trainings are compared: all of a folder are in one number format.
    return {
        "recipe": recipe | {"mixed_precision": precision_here(job.recipe.mixed_precision)},
        "network": training.network.model_dump(mode="json", exclude={"epochs", "weights"}),
        "weights": job.starts[training.network.called].sha256,
        "arm": training.arm,
        "seed": training.seed,
        "steps": training.steps,
        "data": dict(job.data) if "synthetic" in images else {"real": job.data["real"]},
        "images": {name: len(part) for name, part in images.items()},
    }


@dataclass(frozen=True)
class Setup:
    """What is trained, on which images, by which loss, and how good it is."""

    network: nn.Module
    images: Pictures
    loss_of: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    score_of: Callable[[nn.Module], float]
    oversampled: bool = False


def fit(
    recipe: BenchmarkRecipe,
    training: Training,
    evaluate_every: int,
    folder: Path,
    setup: Callable[[Accelerator], Setup],
    on_step: OnStep,
) -> tuple[Accelerator, nn.Module, Trained]:
    """Train what `setup` makes, and leave its curves in the folder of the training.

    `setup` is called when the training's seed is set; the network comes back at its best.
    """
    # Curves of a training that was stopped would run into those of this one.
    rmtree(folder / CURVES_NAME, ignore_errors=True)
    accelerator = start_accelerator(recipe.mixed_precision, recipe.trackers, folder / CURVES_NAME)
    reported = {"network": training.network.called, "arm": training.arm, "seed": training.seed}
    accelerator.init_trackers("didgen", reported, {"wandb": {"name": str(training)}})
    try:
        set_seed(training.seed)
        prepared = setup(accelerator)
        batches = loader(
            prepared.images,
            batch_size=recipe.batch_size,
            steps=training.steps,
            seed=training.seed,
            oversampled=prepared.oversampled,
            # On a CPU the network needs every core itself.
            workers=workers_for(prepared.images, recipe.batch_size)
            if accelerator.device.type == "cuda"
            else 0,
        )
        trained = train(
            accelerator,
            prepared.network,
            batches,
            prepared.loss_of,
            prepared.score_of,
            Schedule(
                steps=training.steps,
                evaluate_every=evaluate_every,
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
    return accelerator, prepared.network, trained


def workers_for(images: Pictures, batch_size: int) -> int:
    """Processes that augment images for a GPU; none where shared memory has no room for them.

    It holds the images and two batches a process. Containers often have 64 MB of it, and what does
    not fit ends the process without a word.
    """
    taken = sum(part.nbytes for part in vars(images).values() if isinstance(part, Tensor))
    taken += 2 * WORKERS * batch_size * taken // max(1, len(images))
    return WORKERS if not SHARED.is_dir() or disk_usage(SHARED).free > taken else 0


def record_of(
    recipe: BenchmarkRecipe,
    asked: Asked,
    accelerator: Accelerator,
    trained: Trained,
    figures: dict[str, Any],
    packages: Iterable[str],
) -> dict[str, Any]:
    """What `result.json` says of a training besides its files."""
    return {
        "asked": asked,
        "training": summary(trained),
        "figures": figures,
        "versions": {name: version(name) for name in ("didgen", "torch", *packages)},
        "device": f"{accelerator.device.type}, {PRECISIONS[accelerator.mixed_precision]}",
    }


def write_benchmark(out: Path, benchmark: dict[str, Any], page: Iterable[Block]) -> None:
    """Write all that a benchmark says, and its page."""
    write_json(out / BENCHMARK_NAME, benchmark)
    write_bytes(out / PAGE_NAME, markdown(page).encode())


def _offset(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda step: progress(before + step, total)
