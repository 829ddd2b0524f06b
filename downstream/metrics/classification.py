"""How good probabilities of classes are: the figures of a test set, and scores of each image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_sensitivity_at_specificity,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

Floats = NDArray[np.float64]

BINS = 15
"""Bins of equal width of the calibration error (Guo et al. 2017)."""

SPECIFICITY = 0.9
"""Specificity at which the sensitivity of one class is read off."""

FLOOR = 1e-7
"""Probabilities below count as this in log-loss, so that no image weighs more than 16.2 nats."""

SLACK = 1e-3
"""How far a row's sum may lie from 1: half precision rounds that much."""


@dataclass(frozen=True)
class Averages:
    """One figure over classes: from pooled counts, over classes, over classes by their images."""

    micro: float
    macro: float
    weighted: float


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class against all others; all None where no image has the class.

    auc is None too where every image has it.
    """

    images: int
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None


@dataclass(frozen=True)
class Figures:
    """The figures of one network on one test set.

    Each image has one class, so that micro precision, recall and F1 are one number, the accuracy.
    macro, weighted and mean_auc run over the classes that have images. confusion: one row a true
    class, one column a predicted one. sensitivity: of the class `positive` at 90 % specificity,
    None where its auc is.
    """

    images: int
    precision: Averages
    recall: Averages
    f1: Averages
    balanced_accuracy: float
    mean_auc: float | None
    ece: float
    positive: str
    sensitivity: float | None
    per_class: dict[str, ClassFigures]
    confusion: list[list[int]]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON can hold them."""
        return asdict(self)


def log_losses(probabilities: ArrayLike, labels: ArrayLike) -> Floats:
    """-ln p of the true class of each image, at most 16.2; (N, C) and (N,) give (N,)."""
    chances, classes = _checked(probabilities, labels)
    return -np.log(np.maximum(chances[np.arange(len(classes)), classes], FLOOR))


def correctness(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Whether the likeliest class is the true one; of equally likely classes the first is taken.

    (N, C) and (N,) give (N,). The official scorer counts such ties as wrong.
    """
    chances, classes = _checked(probabilities, labels)
    return chances.argmax(1) == classes


def balanced_accuracy(correct: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes that have images of the share that is right; both (N,)."""
    classes = np.asarray(labels)
    counts = np.bincount(classes)
    hits = np.bincount(classes, np.asarray(correct, np.float64))
    return float((hits[counts > 0] / counts[counts > 0]).mean())


def figures(
    probabilities: ArrayLike, labels: ArrayLike, names: Sequence[str], *, positive: str = "MEL"
) -> Figures:
    """All figures of a test set.

    probabilities: (N, C) in [0, 1], rows sum to 1; labels: (N,) in [0, C); names: C names, of
    which `positive` is one.
    """
    chances, classes = _checked(probabilities, labels)
    if chances.shape[1] != len(names) or positive not in names:
        raise ValueError(f"{chances.shape[1]} classes do not fit {list(names)} with {positive}")
    size = len(names)
    guess, truth = torch.from_numpy(chances.argmax(1)), torch.from_numpy(classes)
    table = multiclass_confusion_matrix(guess, truth, num_classes=size)
    counts = np.bincount(classes, minlength=size)
    present = counts > 0
    by_class = _by_class(guess, truth, size)
    accuracy = float((chances.argmax(1) == classes).mean())
    averages = {
        name: Averages(
            micro=accuracy,
            macro=float(values[present].mean()),
            weighted=float(np.average(values, weights=counts)),
        )
        for name, values in by_class.items()
    }
    areas = [_area(chances[:, index], classes == index) for index in range(size)]
    known = [area for area in areas if area is not None]
    return Figures(
        images=len(classes),
        precision=averages["precision"],
        recall=averages["recall"],
        f1=averages["f1"],
        balanced_accuracy=balanced_accuracy(chances.argmax(1) == classes, classes),
        mean_auc=float(np.mean(known)) if known else None,
        ece=float(
            multiclass_calibration_error(
                torch.from_numpy(chances), truth, num_classes=size, n_bins=BINS, norm="l1"
            )
        ),
        positive=positive,
        sensitivity=_sensitivity(
            chances[:, names.index(positive)], classes == names.index(positive)
        ),
        per_class={
            name: ClassFigures(
                images=int(counts[index]),
                auc=areas[index],
                **{
                    key: float(values[index]) if present[index] else None
                    for key, values in by_class.items()
                },
            )
            for index, name in enumerate(names)
        },
        confusion=table.tolist(),
    )


def _by_class(guess: torch.Tensor, truth: torch.Tensor, size: int) -> dict[str, Floats]:
    """Precision, recall and F1 of each class; (N,) each, of `size` classes."""
    measures = {
        "precision": multiclass_precision,
        "recall": multiclass_recall,
        "f1": multiclass_f1_score,
    }
    return {
        name: np.asarray(measure(guess, truth, num_classes=size, average="none"), np.float64)
        for name, measure in measures.items()
    }


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    chances, classes = np.asarray(probabilities, np.float64), np.asarray(labels)
    if chances.ndim != 2 or classes.shape != chances.shape[:1] or classes.size == 0:
        raise ValueError(f"probabilities {chances.shape} and labels {classes.shape} do not match")
    if not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"labels are integers, not {classes.dtype}")
    if classes.min() < 0 or classes.max() >= chances.shape[1]:
        raise ValueError(f"labels lie outside of the {chances.shape[1]} classes")
    # A value outside [0, 1] would make torchmetrics take all for logits.
    if not (np.abs(chances.sum(1) - 1) <= SLACK).all() or chances.min() < 0 or chances.max() > 1:
        raise ValueError("rows are no probabilities: in [0, 1] with the sum 1")
    return chances, classes.astype(np.int64)


def _area(chances: Floats, positive: NDArray[np.bool_]) -> float | None:
    if positive.all() or not positive.any():
        return None
    return float(binary_auroc(torch.from_numpy(chances), torch.from_numpy(positive).long()))


def _sensitivity(chances: Floats, positive: NDArray[np.bool_]) -> float | None:
    if positive.all() or not positive.any():
        return None
    share, _ = binary_sensitivity_at_specificity(
        torch.from_numpy(chances), torch.from_numpy(positive).long(), min_specificity=SPECIFICITY
    )
    return float(share)
