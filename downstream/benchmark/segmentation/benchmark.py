"""The segmentation benchmark: every network in every arm and scale, trained, tested and compared.

Notable choices:
- Synthetic pairs stand in training sets only; validation and test are real.
- The best weights are those of the best mean Dice on the validation images, in every arm.
- Masks are compared at the recipe's size, where networks predict them.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from didgen.downstream.benchmark.carry_out import (
    EVALUATION_BATCH,
    Asked,
    OnStep,
    Setup,
    asked_of,
    carry_out,
    finished,
    fit,
    folder_of,
    record_of,
    write_benchmark,
)
from didgen.downstream.benchmark.job import Training
from didgen.downstream.benchmark.losses import segmentation_loss
from didgen.downstream.benchmark.recipe import FILTERED, TREATMENT
from didgen.downstream.benchmark.results import (
    PREDICTIONS_NAME,
    Result,
    Segmentations,
    read_segmentations,
    write_result,
)
from didgen.downstream.benchmark.segmentation.job import SegmentationJob
from didgen.downstream.benchmark.segmentation.pair_filter import Agreements, agree, unseen
from didgen.downstream.benchmark.segmentation.plots import draw_plots
from didgen.downstream.benchmark.segmentation.summary import segmentation_outcome
from didgen.downstream.benchmark.training import Trained
from didgen.downstream.data.pairs import Pairs, folds
from didgen.downstream.metrics.segmentation import Masks, dice_scores, overlaps
from didgen.downstream.networks.segmenters import build_segmenter
from didgen.downstream.pages.segmentation import segmentation_page
from didgen.manifests.files import read_json_lines, write_json_lines
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint

FILTER_FOLDER = "filter"

PACKAGES = ("monai", "segmentation-models-pytorch", "timm")

Scale = int | None


def segment(job: SegmentationJob, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Carry a benchmark out in the folder `out`, and return what `benchmark.json` then holds.

    Trainings whose result is there are not made again; one that was stopped begins anew.
    `progress` is called with (steps done, steps of all trainings).
    """
    asked = {
        training: _asked(job, training)
        for training in (*job.judges, *job.trainings)
        if training.arm != FILTERED
    }
    # A folder of another recipe is refused before anything is trained.
    finished(asked, out)
    first = sum(training.steps for training in job.judges)
    total = first + sum(training.steps for training in job.trainings)

    def from_(before: int) -> Progress | None:
        return None if progress is None else lambda done, _: progress(before + done, total)

    judges = {training: asked[training] for training in job.judges}
    judged = carry_out(judges, out, partial(_judge, job, out), from_(0))
    agreements = _agreements(job, out)
    for training in job.trainings:
        if training.arm == FILTERED:
            asked[training] = _asked(job, training, agreements[training.real])
    ordered = {training: asked[training] for training in job.trainings}
    # Those that the filter makes are known only now; what they have replaced stays if refused.
    finished(ordered, out)
    for count, reported in agreements.items():
        name = f"real-{'all' if count is None else count}.jsonl"
        write_json_lines(out / FILTER_FOLDER / name, reported.rows())
    results = carry_out(ordered, out, partial(_train, job, out, agreements), from_(first))
    found = {training: read_segmentations(folder_of(out, training)) for training in results}
    benchmark = segmentation_outcome(job, {**judged, **results}, found, agreements)
    benchmark["plots"] = draw_plots(job, found, out)
    write_benchmark(out, benchmark, segmentation_page(benchmark))
    return benchmark


def _asked(job: SegmentationJob, training: Training, agreements: Agreements | None = None) -> Asked:
    apart = {"real", "max_steps", "evaluate_every", "filter"}
    asked: Asked = {"evaluate_every": job.evaluate_every(training.real)}
    images: dict[Any, Pairs] = dict(job.images) | {"train": job.real(training.real)}
    if training in job.judges:
        images["train"], images["synthetic"] = _fold(job, training)
        asked["folds"] = job.recipe.filter.folds
    elif (synthetic := synthetic_of(job, training, agreements)) is not None:
        images["synthetic"] = synthetic
    if agreements is not None:
        asked["filter"] = job.recipe.filter.model_dump() | {
            "kept": fingerprint([row["key"] for row in agreements.rows() if row["kept"]])
        }
    return asked_of(job, training, images, apart) | asked


def synthetic_of(
    job: SegmentationJob, training: Training, agreements: Agreements | None
) -> Pairs | None:
    """The synthetic pairs that a training has, if its arm has any."""
    if job.synthetic is not None and training.arm == FILTERED and agreements is not None:
        return job.synthetic.take(np.flatnonzero(agreements.kept).tolist())
    return job.synthetic if training.arm == TREATMENT else None


def _fold(job: SegmentationJob, judge: Training) -> tuple[Pairs, Pairs]:
    """The real pairs that a judge trains on, and the synthetic ones that it may judge."""
    assert job.synthetic is not None, "there is a judge only where there are pairs to judge"
    real = job.real(judge.real)
    dealt = folds(real.lesions, job.recipe.filter.folds, job.recipe.seed)
    own = int(judge.arm.removeprefix("judge-"))
    seen = real.take(np.flatnonzero(dealt != own).tolist())
    return seen, job.synthetic.take(unseen(job.synthetic, {*seen.lesions}))


def _agreements(job: SegmentationJob, out: Path) -> dict[Scale, Agreements]:
    """What the judges of each scale say together."""
    reported: dict[Scale, Agreements] = {}
    for count in dict.fromkeys(judge.real for judge in job.judges):
        assert job.synthetic is not None
        judged = [
            {
                row["key"]: row["dice"]
                for row in read_json_lines(folder_of(out, judge) / PREDICTIONS_NAME)
            }
            for judge in job.judges
            if judge.real == count
        ]
        reported[count] = agree(job.synthetic, judged, job.recipe.filter.keep)
    return reported


def _judge(
    job: SegmentationJob, out: Path, judge: Training, asked: Asked, on_step: OnStep
) -> Result:
    """Train a judge, and have it judge the pairs that it may."""
    folder = folder_of(out, judge)
    real, pairs = _fold(job, judge)
    accelerator, network, trained = _fit(job, judge, real, folder, on_step)
    dice = np.empty(0)
    # Where few masks guided all pairs, the judge may know them all.
    if len(pairs):
        dice = dice_scores(_predict_best(job, network, pairs, accelerator), pairs.masks.numpy())
    return write_result(
        folder,
        (
            {"key": key, "guide": guide, "dice": float(score)}
            for key, guide, score in zip(pairs.keys, pairs.guides, dice, strict=True)
        ),
        None,
        record_of(job.recipe, asked, accelerator, trained, {"pairs": len(pairs)}, PACKAGES),
    )


def _train(
    job: SegmentationJob,
    out: Path,
    agreements: Mapping[Scale, Agreements],
    training: Training,
    asked: Asked,
    on_step: OnStep,
) -> Result:
    folder, test = folder_of(out, training), job.images["test"]
    images = job.real(training.real)
    synthetic = synthetic_of(job, training, agreements.get(training.real))
    if synthetic is not None:
        images = images + synthetic
    accelerator, network, trained = _fit(job, training, images, folder, on_step)
    masks = _predict_best(job, network, test, accelerator)
    measured = overlaps(masks, test.masks.numpy())
    return write_result(
        folder,
        Segmentations(test.keys, test.lesions, measured, masks).rows(),
        # The bare network, whose weights its library loads again.
        network.get_submodule("network") if job.recipe.keep_weights else None,
        record_of(job.recipe, asked, accelerator, trained, measured.means(), PACKAGES),
    )


def _fit(
    job: SegmentationJob, training: Training, images: Pairs, folder: Path, on_step: OnStep
) -> tuple[Accelerator, nn.Module, Trained]:
    recipe, validation = job.recipe, job.images["val"]
    truths = validation.masks.numpy()

    def setup(accelerator: Accelerator) -> Setup:
        weights = job.starts[training.network.called].weights.file
        loss = segmentation_loss(recipe.loss, recipe.auxiliary_weight, recipe.boundary_weight)
        criterion = loss.to(accelerator.device)
        return Setup(
            build_segmenter(training.network, weights),
            images,
            lambda module, batch: criterion(module(batch["pixels"]), batch["mask"].float()),
            lambda module: float(
                dice_scores(predict(module, validation.pixels, recipe.batch_size), truths).mean()
            ),
        )

    every = job.evaluate_every(training.real)
    return fit(recipe, training, every, folder, setup, on_step)


def predict(network: nn.Module, pixels: Tensor, batch_size: int = EVALUATION_BATCH) -> Masks:
    """Masks (N, S, S) of images (N, 3, S, S) uint8 as they are, by a network in eval mode."""
    device = next(network.parameters()).device
    parts = [(network(batch.to(device))[:, 0] > 0).cpu() for batch in pixels.split(batch_size)]
    return torch.cat(parts).numpy()


def _predict_best(
    job: SegmentationJob, network: nn.Module, pairs: Pairs, accelerator: Accelerator
) -> Masks:
    with torch.no_grad(), accelerator.autocast():
        return predict(network, pairs.pixels, job.recipe.batch_size)
