"""The summary of a segmentation benchmark: what it says besides that of any."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from didgen.downstream.benchmark.segmentation.job import SegmentationJob
from didgen.downstream.benchmark.segmentation.pair_filter import Agreements
from didgen.downstream.metrics.segmentation import Overlaps

SUMMARISED: Mapping[str, Callable[[Mapping[str, Any]], float | None]] = {
    one.name: lambda figures, name=one.name: figures[name]  # type: ignore[misc]
    for one in fields(Overlaps)
}
"""The figures of an arm that are told over its seeds."""


def scales(
    job: SegmentationJob, agreements: Mapping[tuple[str, int | None, int], Agreements]
) -> list[dict[str, Any]]:
    """What the filter kept of each run at each scale, by seed."""
    return [
        {
            "real": real,
            "pairs": len(job.places(real, job.recipe.seeds[0])),
            "filters": [
                {"run": run, "seed": seed, **found.summary()}
                for (run, count, seed), found in agreements.items()
                if count == real
            ],
        }
        for real in job.recipe.real
    ]
