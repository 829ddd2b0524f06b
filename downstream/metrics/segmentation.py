"""How well masks agree: figures of each image, as the ISIC challenge scores its Task 1."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.typing import NDArray
from segmentation_models_pytorch import metrics
from torch import Tensor

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]

THRESHOLD = 0.65
"""Jaccard index below which the challenge counts a mask as failed (Codella et al. 2019)."""


@dataclass(frozen=True)
class Overlaps:
    """Figures of each image, each (N,).

    dice, iou, threshold_jaccard (iou, but 0 below 0.65), sensitivity and specificity in [0, 1];
    hd95, in pixels, the larger of two 95th percentiles: of the distances from each pixel of one
    outline to the other outline, and the other way round (MONAI's `compute_hausdorff_distance`).
    """

    dice: Floats
    iou: Floats
    threshold_jaccard: Floats
    hd95: Floats
    sensitivity: Floats
    specificity: Floats

    def means(self) -> dict[str, float]:
        """The mean of each figure over the images."""
        return {one.name: float(getattr(self, one.name).mean()) for one in fields(self)}


def overlaps(predictions: Masks, truths: Masks) -> Overlaps:
    """Compare predicted masks with true ones; both (N, H, W) boolean, N > 0.

    A quotient without denominator counts 1, as the official scorer decides: two empty masks
    agree. hd95 is 0 for them; where one alone is empty it is the image's diagonal, the largest
    distance there can be, since an infinite one would swallow the mean.
    """
    counts = _counts(predictions, truths)
    dice, iou, sensitivity, specificity = (
        _quotients(measure, counts)
        for measure in (
            metrics.f1_score,
            metrics.iou_score,
            metrics.sensitivity,
            metrics.specificity,
        )
    )
    return Overlaps(
        dice=dice,
        iou=iou,
        threshold_jaccard=np.where(iou >= THRESHOLD, iou, 0.0),
        hd95=_hd95(predictions, truths),
        sensitivity=sensitivity,
        specificity=specificity,
    )


def dice_scores(predictions: Masks, truths: Masks) -> Floats:
    """The Dice of each image alone, as in `overlaps`: distances take most of its time."""
    return _quotients(metrics.f1_score, _counts(predictions, truths))


def _counts(predictions: Masks, truths: Masks) -> tuple[Tensor, ...]:
    """True and false positives, false and true negatives of each image."""
    predictions, truths = np.asarray(predictions), np.asarray(truths)
    if predictions.shape != truths.shape or truths.ndim != 3 or len(truths) == 0:
        raise ValueError(
            f"predictions {predictions.shape} and truths {truths.shape}, not (N, H, W)"
        )
    if predictions.dtype != np.bool_ or truths.dtype != np.bool_:
        raise ValueError(f"masks are boolean, not {predictions.dtype} and {truths.dtype}")
    guess, truth = torch.from_numpy(predictions)[:, None], torch.from_numpy(truths)[:, None]
    return metrics.get_stats(guess.long(), truth.long(), mode="binary")


def _quotients(measure: Callable[..., Tensor], counts: tuple[Tensor, ...]) -> Floats:
    exact = (count.double() for count in counts)
    return measure(*exact, reduction="none", zero_division=1.0).numpy().ravel()


def run_lengths(mask: Masks) -> dict[str, Any]:
    """A mask (H, W) as COCO's uncompressed runs: of skin and lesion in turn, down the columns.

    As text beside the figures of its image, a mask takes a few hundred bytes.
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, flat.size]).tolist()}


def mask_of(runs: dict[str, Any]) -> Masks:
    """The mask (H, W) of COCO's uncompressed runs; runs that do not fill it are a ValueError."""
    counts = np.asarray(runs["counts"], np.int64)
    values = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, counts).reshape(runs["size"], order="F"))


def _hd95(predictions: Masks, truths: Masks) -> Floats:
    filled, wanted = predictions.any((1, 2)), truths.any((1, 2))
    distances = np.where(filled == wanted, 0.0, np.hypot(*truths.shape[1:]))
    if both := np.flatnonzero(filled & wanted).tolist():
        guess, truth = (torch.from_numpy(masks[both])[:, None] for masks in (predictions, truths))
        with warnings.catch_warnings():
            # MONAI passes an argument to itself that it has deprecated.
            warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
            found = compute_hausdorff_distance(guess, truth, include_background=True, percentile=95)
        distances[both] = found.double().numpy().ravel()
    return distances
