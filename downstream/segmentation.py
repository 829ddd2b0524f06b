"""How well masks agree: figures of each image, as the ISIC challenge scores its Task 1."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.typing import NDArray
from segmentation_models_pytorch import metrics

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]

THRESHOLD = 0.65
"""Jaccard index below which the challenge counts a mask as failed (Codella et al. 2019)."""


@dataclass(frozen=True)
class Overlaps:
    """Figures of each image, each (N,).

    dice, iou, threshold_jaccard (iou, but 0 below 0.65), sensitivity and specificity in [0, 1];
    hd95, the 95th percentile of the distances between both outlines, in pixels.
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
    predictions, truths = np.asarray(predictions), np.asarray(truths)
    if predictions.shape != truths.shape or truths.ndim != 3 or len(truths) == 0:
        raise ValueError(
            f"predictions {predictions.shape} and truths {truths.shape}, not (N, H, W)"
        )
    if predictions.dtype != np.bool_ or truths.dtype != np.bool_:
        raise ValueError(f"masks are boolean, not {predictions.dtype} and {truths.dtype}")
    guess, truth = torch.from_numpy(predictions)[:, None], torch.from_numpy(truths)[:, None]
    counts = metrics.get_stats(guess.long(), truth.long(), mode="binary")
    dice, iou, sensitivity, specificity = (
        measure(*(count.double() for count in counts), reduction="none", zero_division=1.0)
        .numpy()
        .ravel()
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


def _hd95(predictions: Masks, truths: Masks) -> Floats:
    filled, wanted = predictions.any((1, 2)), truths.any((1, 2))
    distances = np.where(filled == wanted, 0.0, np.hypot(*truths.shape[1:]))
    if both := np.flatnonzero(filled & wanted).tolist():
        guess, truth = (torch.from_numpy(masks[both])[:, None] for masks in (predictions, truths))
        found = compute_hausdorff_distance(guess, truth, include_background=True, percentile=95)
        distances[both] = found.double().numpy().ravel()
    return distances
