"""Gates: what is measured of a sample, and whether a recipe keeps it.

A recipe's bounds are compared with the figures as they are recorded, so that a record says by
itself why its sample was kept or not.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from didgen.manifests.recipes.augment import Gates
from didgen.manifests.sources.mask_gates import FLAT, mask_fault, mask_scores


def measure(
    image: np.ndarray, mask: np.ndarray | None, layout: np.ndarray | None
) -> dict[str, float]:
    """The scores of a sample.

    image: (H, W, 3) uint8; mask, layout: (H, W) booleans, for pairs only. `contrast` is the
    standard deviation of the grey levels, of 255; for pairs also `mask_area`, a share of the image,
    `components`, connected over edges and corners, and `layout_iou`.
    """
    scores = {"contrast": round(float(image.mean(-1).std()), 3)}
    if mask is not None and layout is not None:
        scores |= mask_scores(mask)
        union = max(int((mask | layout).sum()), 1)
        scores["layout_iou"] = round(float((mask & layout).sum() / union), 4)
    return scores


def fault(scores: Mapping[str, float], gates: Gates) -> str | None:
    """Why the gates stop a sample with these scores, in half a sentence; None if they do not."""
    if scores["contrast"] < gates.contrast:
        return f"near-blank image: grey levels deviate by {scores['contrast']:.2f}"
    if "mask_area" not in scores:
        return None
    if reason := mask_fault(scores, gates):
        return reason
    if scores["layout_iou"] < gates.layout_iou:
        return f"the annotated mask has an IoU of {scores['layout_iou']:.2f} with its layout"
    return None


def otsu_failures(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Of how many tries Otsu found no two levels, as a decision of a run; {} where none is a pair.

    rows: those of the sidecars, of samples that were kept and of those that were given up.
    """
    tries = flat = 0
    for row in rows:
        if row.get("layout"):
            tries += row.get("redraws", 0) + 1
            flat += sum(reason.startswith(FLAT) for reason in row.get("rejected", ()))
    return {"otsu": f"no two levels stopped {flat} of {tries} tries of pairs"} if tries else {}
