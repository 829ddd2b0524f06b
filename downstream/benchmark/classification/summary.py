"""The summary of a classification benchmark: figures of every arm, and the verdicts."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didgen.downstream.benchmark.classification.job import ClassificationJob
from didgen.downstream.benchmark.job import Training
from didgen.downstream.benchmark.recipe import TREATMENT, Arm
from didgen.downstream.benchmark.results import Predictions, Result
from didgen.downstream.benchmark.summary import corrected, head, known_mean, trained_in
from didgen.downstream.data.images import counts
from didgen.downstream.metrics.classification import balanced_accuracy, correctness, log_losses
from didgen.downstream.networks.network import Network
from didgen.downstream.stats.bootstrap import bootstrap_figure
from didgen.downstream.stats.comparison import Comparison, balanced, compare, summarise

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


def classification_outcome(
    job: ClassificationJob,
    results: Mapping[Training, Result],
    predictions: Mapping[Training, Predictions],
) -> dict[str, Any]:
    """All that a classification benchmark says, from its predictions; as JSON holds it."""
    recipe = job.recipe
    arms = [
        _arm(job, network, arm, results, predictions)
        for network in recipe.networks
        for arm in recipe.arms
    ]
    comparisons: list[Comparison] = []
    for rival in (arm for arm in recipe.arms if arm != TREATMENT and TREATMENT in recipe.arms):
        comparisons += corrected(
            [_compare(job, network, rival, predictions) for network in recipe.networks]
        )
    return {
        **head(job, results),
        "classes": list(job.classes),
        "images": {name: counts(part, job.classes) for name, part in job.parts.items()},
        "arms": arms,
        "comparisons": [comparison.to_dict() for comparison in comparisons],
    }


def _arm(
    job: ClassificationJob,
    network: Network,
    arm: Arm,
    results: Mapping[Training, Result],
    predictions: Mapping[Training, Predictions],
) -> dict[str, Any]:
    """The figures of a network in an arm over its seeds."""
    mine = [t for t in job.trainings if (t.network, t.arm) == (network, arm)]
    reported = [results[t].figures for t in mine]
    summaries: dict[str, Any] = {}
    for name, figure in SUMMARISED.items():
        values = [value for value in map(figure, reported) if value is not None]
        summaries[name] = vars(summarise(values)) if values else None
    first = predictions[mine[0]]
    right = np.stack([correctness(predictions[t].probabilities, first.labels) for t in mine])

    def mean_balanced_accuracy(drawn: NDArray[np.int64]) -> float:
        return balanced_accuracy(right[:, drawn].mean(0), first.labels[drawn])

    return {
        **trained_in(mine, results),
        "figures": summaries,
        "balanced_accuracy_over_lesions": bootstrap_figure(
            mean_balanced_accuracy, first.lesions, strata=first.labels
        ),
        "per_class": {
            name: {
                figure: known_mean([f["per_class"][name][figure] for f in reported])
                for figure in ("precision", "recall", "f1", "auc")
            }
            for name in job.classes
        },
        "confusion": np.sum([f["confusion"] for f in reported], 0).tolist(),
    }


def _compare(
    job: ClassificationJob,
    network: Network,
    rival: Arm,
    predictions: Mapping[Training, Predictions],
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
