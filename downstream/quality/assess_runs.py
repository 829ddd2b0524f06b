"""Assessing several runs: each by itself, against real images that are looked at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from didgen.downstream.pages.document import markdown
from didgen.downstream.pages.quality_runs import quality_runs_page
from didgen.downstream.quality.assess import (
    QualityJob,
    RealImages,
    assess,
    counted,
    look_at_real,
    prepare_quality,
)
from didgen.downstream.quality.recipe import QualityRecipe
from didgen.manifests.files import write_bytes
from didgen.manifests.locks import sole_writer
from didgen.manifests.progress import Progress

RUNS_PAGE = "runs.md"


def prepare_runs(recipe: QualityRecipe, progress: Progress | None = None) -> dict[str, QualityJob]:
    """Every run of a recipe made ready, by its name; raises what `prepare_quality` raises."""
    return {name: prepare_quality(one, progress) for name, one in recipe.each().items()}


def assess_runs(
    jobs: Mapping[str, QualityJob],
    out: Path,
    *,
    scores: bool = False,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Assess each run in the folder of its name in `out`, and write their figures side by side.

    A run without a name is assessed in `out` itself. Returns what each `quality.json` holds.
    """
    seen: RealImages | None = None
    records = {}
    for name, job in jobs.items():
        if len(jobs) > 1 and seen is None:
            seen = look_at_real(job, counted(job, progress))
        records[name] = assess(job, out / name, scores=scores, progress=progress, seen=seen)
    if len(jobs) > 1:
        with sole_writer(out, "quality", out / RUNS_PAGE):
            write_bytes(out / RUNS_PAGE, markdown(quality_runs_page(records)).encode())
    return records
