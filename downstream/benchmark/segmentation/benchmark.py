"""The segmentation benchmark: every network in every arm and scale, trained, chosen from, tested.

Notable choices:
- On all real pairs the best weights are those of the best mean Dice on the validation images, in
  every arm; at a scale of scarcity they are those of the last step.
- Masks are compared at the recipe's size, where networks predict them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from didgen.downstream.benchmark.arms.record import Arm
from didgen.downstream.benchmark.arms.use import Given
from didgen.downstream.benchmark.carry_out import alone, carry_out, train_on
from didgen.downstream.benchmark.fit import Place, folder_of, record_of
from didgen.downstream.benchmark.job import Training
from didgen.downstream.benchmark.losses import PairLoss, segmentation_loss
from didgen.downstream.benchmark.plots import draw_scarcity
from didgen.downstream.benchmark.results import (
    FILES_OF,
    FILTER_FOLDER,
    PREDICTIONS_NAME,
    Segmentations,
    read_segmentations,
    write_result,
)
from didgen.downstream.benchmark.segmentation.job import SegmentationJob, judged
from didgen.downstream.benchmark.segmentation.pair_filter import Agreements, agree, unseen
from didgen.downstream.benchmark.segmentation.plots import draw_plots
from didgen.downstream.benchmark.segmentation.summary import SUMMARISED, scales
from didgen.downstream.benchmark.summary import outcome, write_benchmark
from didgen.downstream.benchmark.task import EVALUATION_BATCH, Score, Task
from didgen.downstream.benchmark.training_result import Result
from didgen.downstream.data.loader import TrainingSet
from didgen.downstream.data.pairs import Pairs, folds
from didgen.downstream.data.samplers import Plain
from didgen.downstream.metrics.segmentation import Masks, dice_scores, overlaps
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.segmenters import build_segmenter
from didgen.downstream.pages.segmentation import segmentation_page
from didgen.manifests.files import read_json_lines, write_json_lines
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint


def segment(job: SegmentationJob, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Carry a benchmark out in the folder `out`, and return what `benchmark.json` then holds.

    Trainings whose result is there are not made again; a long one that was stopped goes on.
    `progress` is called with (steps done, steps of all trainings).
    """
    task = Segmentation(job)
    with alone(job, out):
        findings = carry_out(task, out, progress)
        benchmark = {
            **outcome(task, findings),
            "images": {name: len(part) for name, part in job.parts.items()},
            "scales": scales(job, task.agreements),
        }
        benchmark["plots"] = [*draw_scarcity(benchmark, out), *draw_plots(job, findings, out)]
        write_benchmark(out, benchmark, segmentation_page(benchmark))
    return benchmark


class Segmentation(Task[Pairs, Segmentations]):
    """What a benchmark does with segmentation nets; agreements: by run, scale and seed."""

    scores = (
        Score("Dice"),
        Score("IoU"),
        Score("threshold Jaccard"),
        Score("HD95", higher_is_better=False),
    )
    packages = ("monai", "segmentation-models-pytorch", "timm")
    told = SUMMARISED
    job: SegmentationJob

    def __init__(self, job: SegmentationJob) -> None:
        super().__init__(job)
        self.agreements: dict[tuple[str, int | None, int], Agreements] = {}

    def build(self, network: Network, weights: Path | None) -> nn.Module:
        return build_segmenter(network, weights)

    def loss(self, arm: Arm | None) -> nn.Module:
        recipe = self.job.recipe
        return PairLoss(
            segmentation_loss(recipe.loss, recipe.auxiliary_weight, recipe.boundary_weight)
        )

    def outputs(self, module: nn.Module, pixels: Tensor) -> Any:
        return module(pixels)

    def score(self, module: nn.Module, images: Pairs) -> float:
        found = predict(module, images.pixels, self.job.recipe.batch_size)
        return float(dice_scores(found, images.masks.numpy()).mean())

    def predict(self, module: nn.Module, images: Pairs) -> Segmentations:
        masks = predict(module, images.pixels, self.job.recipe.batch_size)
        measured = overlaps(masks, images.masks.numpy())
        return Segmentations(images.keys, images.units, measured, masks)

    def rows(self, predicted: Segmentations) -> Iterator[dict[str, Any]]:
        return predicted.rows()

    def named(
        self, predicted: Segmentations, keys: tuple[str, ...], units: tuple[str, ...]
    ) -> Segmentations:
        return replace(predicted, keys=keys, units=units)

    def on_disk(self, folder: Path, part: str) -> Segmentations:
        return read_segmentations(folder, FILES_OF[part])

    def figures(self, predicted: Segmentations) -> dict[str, Any]:
        return predicted.overlaps.means()

    def by_image(self, predicted: Segmentations) -> Mapping[str, NDArray[Any]]:
        found = predicted.overlaps
        every = (found.dice, found.iou, found.threshold_jaccard, found.hd95)
        return {score.name: part for score, part in zip(self.scores, every, strict=True)}

    def asked(self, training: Training) -> dict[str, Any]:
        if training in self.job.judges:
            seen, pairs = self._fold(training)
            run = self.job.judged_run(training)
            return {
                "folds": [self.job.recipe.filter.folds, self.job.recipe.seed],
                "images": {"train": len(seen), "synthetic": len(pairs)},
                "data": {"real": self.job.data["real"], "run": run.sha256},
            }
        kept = self.kept(training)
        if kept is None:
            return {}
        return {"filter": self.job.recipe.filter.model_dump() | {"kept": fingerprint(list(kept))}}

    def kept(self, training: Training) -> Sequence[int] | None:
        arm = self.job.recipe.arm(training.arm)
        if not arm.filter or arm.run is None:
            return None
        found = self.agreements[arm.run, training.real, training.seed]
        return [int(place) for place in np.flatnonzero(found.kept)]

    def learn(self, out: Path, judges: Iterable[Training]) -> None:
        """Put together what these networks of the filter say."""
        groups: dict[tuple[str, int | None, int], list[Training]] = {}
        for judge in judges:
            groups.setdefault((judged(judge), judge.real, judge.seed), []).append(judge)
        for group, mine in groups.items():
            said = [
                {
                    row["key"]: row["dice"]
                    for row in read_json_lines(folder_of(out, judge) / PREDICTIONS_NAME)
                }
                for judge in mine
            ]
            pairs = self.job.judged_run(mine[0]).images
            found = agree(pairs, said, self.job.recipe.filter.keep)
            self.agreements[group] = found

    def tell(self, out: Path) -> None:
        """Write which pairs the filter keeps, and how far its networks agree with each."""
        for (name, real, seed), found in self.agreements.items():
            file = f"real-{'all' if real is None else real}-seed-{seed}.jsonl"
            write_json_lines(
                out / FILTER_FOLDER / name / file, found.rows(self.job.unit_names["val"])
            )

    def judge(self, judge: Training, out: Path, asked: dict[str, Any], on_step: Any) -> Result:
        """Train a network of the filter, and have it judge the pairs that it may."""
        place = Place(folder_of(out, judge), asked, on_step)
        seen, pairs = self._fold(judge)
        made = TrainingSet(seen, Plain(Given(seen).real_epochs), len(seen))
        accelerator, network, trained = train_on(self, judge, place, lambda: made)
        dice = np.empty(0)
        # Where few masks guided all pairs, the judge may know them all.
        if len(pairs):
            with torch.no_grad(), accelerator.autocast():
                found = predict(network, pairs.pixels, self.job.recipe.batch_size)
            dice = dice_scores(found, pairs.masks.numpy())
        name = self.job.unit_names["val"]
        rows = (
            {"key": key, "guide": name(guide), "dice": float(score)}
            for key, guide, score in zip(pairs.keys, pairs.guides, dice, strict=True)
        )
        run = (accelerator, trained)
        record = record_of(self.job, asked, run, {"pairs": len(pairs)}, self.packages)
        return write_result(place.folder, {PREDICTIONS_NAME: rows}, None, record)

    def _fold(self, judge: Training) -> tuple[Pairs, Pairs]:
        """The real pairs that a judge trains on, and the synthetic ones that it may judge."""
        real = self.job.real(judge.real, judge.seed)
        dealt = folds(real.units, self.job.recipe.filter.folds, self.job.recipe.seed)
        own = int(judge.arm.rpartition("-")[2])
        seen = real.take(np.flatnonzero(dealt != own).tolist())
        pairs = self.job.judged_run(judge).images
        return seen, pairs.take(unseen(pairs, {*seen.units}))


def predict(network: nn.Module, pixels: Tensor, batch_size: int = EVALUATION_BATCH) -> Masks:
    """Masks (N, S, S) of images (N, 3, S, S) uint8 as they are, by a network in eval mode."""
    device = next(network.parameters()).device
    parts = [(network(batch.to(device))[:, 0] > 0).cpu() for batch in pixels.split(batch_size)]
    return torch.cat(parts).numpy()
