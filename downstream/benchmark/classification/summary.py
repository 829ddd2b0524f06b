"""The summary of a classification benchmark: what it says besides that of any."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from didgen.downstream.benchmark.summary import known_mean

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


def class_details(reported: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """The figures of each class, and the confusion, of an arm's test."""
    return {
        "per_class": {
            name: {
                figure: known_mean([f["per_class"][name][figure] for f in reported])
                for figure in ("precision", "recall", "f1", "auc")
            }
            for name in classes
        },
        "confusion": np.sum([f["confusion"] for f in reported], 0).tolist(),
    }
