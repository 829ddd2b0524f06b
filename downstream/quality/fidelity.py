"""Fidelity: whether samples are what they were to be, by judges and by the layouts they followed.

Notable choices:
- A judge sees images as its benchmark showed them, at its own size.
- The floor of a figure, rather a ceiling here, is the judge's own on the real test images, read
  from the predictions that its training left.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from didgen.downstream.benchmark.classification.benchmark import predict as class_chances
from didgen.downstream.benchmark.results import read_predictions, read_segmentations
from didgen.downstream.benchmark.segmentation.benchmark import predict as predicted_masks
from didgen.downstream.data.images import squares
from didgen.downstream.data.pairs import load_synthetic_pairs
from didgen.downstream.metrics.classification import balanced_accuracy
from didgen.downstream.metrics.generative import LEAST, Figure, pair_figure
from didgen.downstream.metrics.segmentation import overlaps
from didgen.downstream.quality.embed import Collection
from didgen.downstream.quality.judge import Judge
from didgen.downstream.stats.bootstrap import bootstrap_figure
from didgen.manifests.runs.training_samples import SyntheticSample
from didgen.manifests.sources.records import SourceManifest

RESIZE = "bilinear, antialiased (Pillow), central square"
"""How the benchmarks bring images to their size."""


def class_fidelity(judge: Judge, synthetic: Collection) -> Iterator[dict[str, Any]]:
    """How well a classifier names the classes that images were made for, as rows of figures.

    Its balanced accuracy in [0, 1] over the classes that the images have, and the recall of each
    of which there are `LEAST`.
    """
    places = [place for place, label in enumerate(synthetic.labels) if label in judge.classes]
    if not places:
        note = f"left out: no sample has a class that {judge.name} knows"
        yield _row(judge, "class_fidelity", Figure(None, 0, 0, note=note), Figure(None, 0, 0))
        return
    pixels = torch.from_numpy(np.stack([*squares(synthetic.files(places), judge.size)]))
    labels = np.array([judge.classes.index(synthetic.labels[place]) for place in places], np.int64)
    units = np.array([synthetic.units[place] for place in places])
    with torch.no_grad():
        right = class_chances(judge.network, pixels).argmax(1) == labels
    real = read_predictions(judge.folder, judge.classes)
    hits = real.probabilities.argmax(1) == real.labels

    def rows(classes: NDArray[np.int64]) -> tuple[Figure, Figure]:
        mine, theirs = np.isin(labels, classes), np.isin(real.labels, classes)
        return (
            _balanced(right[mine], labels[mine], units[mine]),
            _balanced(hits[theirs], real.labels[theirs], np.asarray(real.units)[theirs]),
        )

    present = np.unique(labels)
    yield _row(judge, "class_fidelity", *rows(present))
    for index in present:
        if min(np.sum(labels == index), np.sum(real.labels == index)) >= LEAST:
            yield _row(judge, "class_fidelity", *rows(index), label=judge.classes[index])


def mask_fidelity(
    judge: Judge, run: Path, taken: Sequence[SyntheticSample], source: SourceManifest
) -> dict[str, Any]:
    """The mean IoU in [0, 1] of a segmentation net's masks with those of pairs, as a row."""
    pairs = load_synthetic_pairs(run, taken, source, judge.size)
    with torch.no_grad():
        masks = predicted_masks(judge.network, pairs.pixels)
    found = overlaps(masks, pairs.masks.numpy())
    real = read_segmentations(judge.folder)
    return _row(
        judge,
        "mask_fidelity",
        _mean(found.iou, pairs.units),
        _mean(real.overlaps.iou, real.units),
    )


def layout_fidelity(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The mean IoU in [0, 1] of annotated masks with their layouts, as the sidecars' `rows` by key
    have it; no figure where none has. There is no floor: a real image has no layout."""
    reported = [row["scores"]["layout_iou"] for row in rows.values() if "scores" in row]
    if reported:
        basis = dict.fromkeys(("size", "resize", "extractor", "extractor_sha256"))
        value = pair_figure(reported, len(reported), 0)
        yield _figure_row("layout_iou", "layout", value, Figure(None, 0, 0)) | basis


def _balanced(correct: NDArray[np.bool_], labels: NDArray[np.int64], units: ArrayLike) -> Figure:
    interval = bootstrap_figure(
        lambda drawn: balanced_accuracy(correct[drawn], labels[drawn]), units, strata=labels
    )
    return Figure(balanced_accuracy(correct, labels), len(labels), 0, interval)


def _mean(values: NDArray[np.float64], units: ArrayLike) -> Figure:
    interval = bootstrap_figure(lambda drawn: float(values[drawn].mean()), units)
    return Figure(float(values.mean()), len(values), 0, interval)


def _row(
    judge: Judge, figure: str, value: Figure, baseline: Figure, label: str | None = None
) -> dict[str, Any]:
    return _figure_row(figure, "judge", value, baseline, label) | {
        "size": judge.size,
        "resize": RESIZE,
        "extractor": judge.name,
        "extractor_sha256": judge.sha256,
    }


def _figure_row(
    figure: str, basis: str, value: Figure, baseline: Figure, label: str | None = None
) -> dict[str, Any]:
    reported = {"figure": figure, "class": label, "basis": basis, "matched_by": "nothing"}
    return reported | asdict(value) | {"floor": asdict(baseline)}
