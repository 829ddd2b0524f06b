"""Tests of the summary of a classification: means over seeds and comparisons."""

import json

import numpy as np
import pytest

from didgen.downstream.benchmark.recipe import ARMS
from didgen.downstream.benchmark.results import read_predictions, training_folder
from didgen.downstream.metrics.classification import balanced_accuracy, correctness, log_losses
from didgen.downstream.stats.comparison import compare, holm

CLASSES = ("MEL", "BCC")


def test_the_comparisons_are_those_of_the_predictions_seed_by_seed(classified) -> None:
    out, benchmark = classified
    assert len(benchmark["comparisons"]) == (len(ARMS) - 1) * 3 * 2
    by_network = []
    for network in ("conv", "test_vit"):
        before, after = (
            [read_predictions(training_folder(out, network, arm, s), CLASSES) for s in (0, 1)]
            for arm in ("oversampled", "didgen")
        )
        control, treatment = (
            np.stack([log_losses(one.probabilities, one.labels) for one in arm])
            for arm in (before, after)
        )
        by_network.append(
            compare(
                control,
                treatment,
                before[0].lesions,
                model=network,
                score="log-loss",
                names=("oversampled", "didgen"),
                higher_is_better=False,
            )
        )
    told = [
        one
        for one in benchmark["comparisons"]
        if (one["control"], one["score"]) == ("oversampled", "log-loss")
    ]
    oracle = [one.to_dict() for one in holm(by_network)]
    assert json.loads(json.dumps(told)) == json.loads(json.dumps(oracle))
    assert {one["family"] for one in told} == {2}


def test_the_mean_over_seeds_is_told_with_its_spread(classified) -> None:
    out, benchmark = classified
    arm = next(
        one for one in benchmark["arms"] if (one["network"], one["arm"]) == ("conv", "focal")
    )
    values = []
    for seed in (0, 1):
        found = read_predictions(training_folder(out, "conv", "focal", seed), CLASSES)
        right = correctness(found.probabilities, found.labels)
        values.append(balanced_accuracy(right, found.labels))
    assert arm["figures"]["balanced_accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert arm["figures"]["balanced_accuracy"]["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert sum(map(sum, arm["confusion"])) == 2 * 3
