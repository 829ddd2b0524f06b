"""Summaries: what the trainings of a benchmark say together.

Whether synthetic images help is asked against each rival by itself; Holm's correction runs over
the networks of one such question, and over the scales of scarcity where there are several: who
reads that pairs help a network at some scale has looked at all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from didgen.downstream.benchmark.job import BenchmarkJob, Training
from didgen.downstream.benchmark.results import Result
from didgen.downstream.stats.comparison import Comparison, holm


def head(job: BenchmarkJob[Any], results: Mapping[Training, Result]) -> dict[str, Any]:
    """What every benchmark says of its recipe, data, networks and machine."""
    return {
        "kind": job.recipe.kind,
        "recipe": job.recipe.model_dump(mode="json"),
        "data": dict(job.data),
        "lesions": {name: len(set(part.lesions)) for name, part in job.images.items()},
        "near_duplicates": list(job.dropped),
        "networks": [
            {
                "called": network.called,
                "weights": job.starts[network.called].weights.said,
                "parameters": job.starts[network.called].parameters,
            }
            for network in job.recipe.networks
        ],
        "devices": sorted({result.device for result in results.values()}),
        "seconds": sum(result.training["seconds"] for result in results.values()),
    }


def corrected(members: Sequence[Sequence[Comparison]]) -> list[Comparison]:
    """The comparisons of each member on every score, after Holm over the members of a score."""
    return [one for family in zip(*members, strict=True) for one in holm(family)]


def trained_in(mine: Sequence[Training], results: Mapping[Training, Result]) -> dict[str, Any]:
    """What an arm's trainings took."""
    return {
        "network": mine[0].network.called,
        "arm": mine[0].arm,
        "seeds": [t.seed for t in mine],
        "steps": mine[0].steps,
        "best_steps": [results[t].training["best_step"] for t in mine],
        "stopped_at": [results[t].training["steps"] for t in mine],
    }


def known_mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known, None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
