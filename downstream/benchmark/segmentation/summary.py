"""The summary of a segmentation benchmark: what it says besides that of any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from didgen.downstream.benchmark.results import Segmentations
from didgen.downstream.benchmark.segmentation.job import SegmentationJob
from didgen.downstream.benchmark.segmentation.pair_filter import Agreements
from didgen.downstream.metrics.segmentation import Overlaps
from didgen.downstream.stats.bootstrap import bootstrap_figure

SUMMARISED: Mapping[str, Callable[[Mapping[str, Any]], float | None]] = {
    one.name: lambda figures, name=one.name: figures[name]  # type: ignore[misc]
    for one in fields(Overlaps)
}
"""The figures of an arm that are told over its seeds."""


def mask_details(predicted: Sequence[Segmentations]) -> dict[str, Any]:
    """The interval of the Dice of an arm's test over lesions."""
    dice = np.mean([one.overlaps.dice for one in predicted], 0)
    interval = bootstrap_figure(lambda drawn: float(dice[drawn].mean()), predicted[0].lesions)
    return {"dice_over_lesions": interval}


def scales(
    job: SegmentationJob, agreements: Mapping[tuple[str, int | None, int], Agreements]
) -> list[dict[str, Any]]:
    """What the filter kept of each run at each scale, by seed where each has its own pairs."""
    return [
        {
            "real": real,
            "pairs": len(job.places(real, job.recipe.seeds[0])),
            "filters": [
                {"run": run, "seed": None if real is None else seed, **found.summary()}
                for (run, count, seed), found in agreements.items()
                if count == real
            ],
        }
        for real in job.recipe.real
    ]
