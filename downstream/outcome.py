"""Outcome: what the trainings of a classification benchmark say together.

Whether synthetic images help is asked against each rival by itself; Holm's correction runs over
the networks of one such question.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from downstream.classification import balanced_accuracy, correctness, log_losses
from downstream.data import counts
from downstream.job import Job, Training
from downstream.recipe import TREATMENT, Arm, Network
from downstream.results import Predictions, Result
from downstream.stats.bootstrap import bootstrap_figure
from downstream.stats.comparison import Comparison, balanced, compare, holm, summarise

SUMMARISED: Mapping[str, Callable[[Mapping[str, Any]], float | None]] = {
    "balanced_accuracy": lambda f: f["balanced_accuracy"],
    "accuracy": lambda f: f["f1"]["micro"],
    **{
        f"{kind}_{name}": lambda f, kind=kind, name=name: f[name][kind]  # type: ignore[misc]
        for kind in ("macro", "weighted")
        for name in ("precision", "recall", "f1")
    },
    "mean_auc": lambda f: f["mean_auc"],
    "ece": lambda f: f["ece"],
    "sensitivity": lambda f: f["sensitivity"],
}
"""The figures of an arm that are told over its seeds, and where they stand in a result."""


def outcome(
    job: Job, results: Mapping[Training, Result], predictions: Mapping[Training, Predictions]
) -> dict[str, Any]:
    """All that a benchmark says, from its results and predictions; as JSON holds it."""
    recipe = job.recipe
    arms = [
        _arm(job, network, arm, results, predictions)
        for network in recipe.networks
        for arm in recipe.arms
    ]
    comparisons: list[Comparison] = []
    for rival in (arm for arm in recipe.arms if arm != TREATMENT and TREATMENT in recipe.arms):
        by_score = [_compare(job, network, rival, predictions) for network in recipe.networks]
        for family in zip(*by_score, strict=True):
            comparisons += holm(family)
    parts = dict(job.images) | ({} if job.made is None else {"synthetic": job.made})
    return {
        "kind": "classify",
        "recipe": recipe.model_dump(mode="json"),
        "classes": list(job.classes),
        "data": dict(job.data),
        "images": {name: counts(part, job.classes) for name, part in parts.items()},
        "lesions": {name: len(set(part.lesions)) for name, part in job.images.items()},
        "near_duplicates": list(job.dropped),
        "networks": [
            {
                "called": network.called,
                "weights": job.starts[network.called].weights.said,
                "parameters": job.starts[network.called].parameters,
            }
            for network in recipe.networks
        ],
        "devices": sorted({result.device for result in results.values()}),
        "seconds": sum(result.training["seconds"] for result in results.values()),
        "arms": arms,
        "comparisons": [comparison.to_dict() for comparison in comparisons],
    }


def _arm(
    job: Job,
    network: Network,
    arm: Arm,
    results: Mapping[Training, Result],
    predictions: Mapping[Training, Predictions],
) -> dict[str, Any]:
    """The figures of a network in an arm over its seeds."""
    mine = [t for t in job.trainings if (t.network, t.arm) == (network, arm)]
    told = [results[t].figures for t in mine]
    summaries: dict[str, Any] = {}
    for name, figure in SUMMARISED.items():
        values = [value for value in map(figure, told) if value is not None]
        summaries[name] = vars(summarise(values)) if values else None
    first = predictions[mine[0]]
    right = np.stack([correctness(predictions[t].probabilities, first.labels) for t in mine])

    def mean_balanced_accuracy(drawn: NDArray[np.int64]) -> float:
        return balanced_accuracy(right[:, drawn].mean(0), first.labels[drawn])

    return {
        "network": network.called,
        "arm": arm,
        "seeds": [t.seed for t in mine],
        "steps": mine[0].steps,
        "best_steps": [results[t].training["best_step"] for t in mine],
        "stopped_at": [results[t].training["steps"] for t in mine],
        "figures": summaries,
        "balanced_accuracy_over_lesions": bootstrap_figure(
            mean_balanced_accuracy, first.lesions, strata=first.labels
        ),
        "per_class": {
            name: {
                figure: _mean([f["per_class"][name][figure] for f in told])
                for figure in ("precision", "recall", "f1", "auc")
            }
            for name in job.classes
        },
        "confusion": np.sum([f["confusion"] for f in told], 0).tolist(),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _compare(
    job: Job, network: Network, rival: Arm, predictions: Mapping[Training, Predictions]
) -> list[Comparison]:
    """DiDGen against a rival on one network: balanced correctness, correctness and log-loss."""

    def of(arm: Arm) -> list[Predictions]:
        return [predictions[t] for t in job.trainings if (t.network, t.arm) == (network, arm)]

    before, after = of(rival), of(TREATMENT)
    labels, lesions = before[0].labels, before[0].lesions
    right, losses = (
        [np.stack([score(p.probabilities, labels) for p in arm]) for arm in (before, after)]
        for score in (correctness, log_losses)
    )
    evened = [balanced(part, labels, lesions) for part in right]
    return [
        compare(
            control,
            treatment,
            lesions,
            model=network.called,
            score=name,
            names=(rival, TREATMENT),
            higher_is_better=higher,
        )
        for name, (control, treatment), higher in (
            ("balanced accuracy", evened, True),
            ("accuracy", right, True),
            ("log-loss", losses, False),
        )
    ]
