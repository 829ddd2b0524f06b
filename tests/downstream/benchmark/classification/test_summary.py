"""Tests of the summary of a classification: means over seeds and comparisons."""

import json
from pathlib import Path

import numpy as np
import pytest

from didgen.downstream.benchmark.recipe import ClassifyRecipe
from didgen.downstream.benchmark.results import Predictions, read_predictions, training_folder
from didgen.downstream.metrics.classification import balanced_accuracy, correctness, log_losses
from didgen.downstream.stats.comparison import UNJUDGED, UNTESTED, Contrast, balanced, compare, holm
from tests.fixtures.benchmarks import Done

CLASSES = ("MEL", "BCC")
ARMS = (*ClassifyRecipe.default_arms, "didgen")


def of_arms(out: Path, network: str, arms: tuple[str, str]) -> list[list[Predictions]]:
    return [
        [read_predictions(training_folder(out, network, arm, s), CLASSES) for s in (0, 1)]
        for arm in arms
    ]


def test_the_controls_are_one_family_and_decide_by_balanced_accuracy(classified: Done) -> None:
    out, benchmark = classified
    members = []
    for control in ("original", "original-epochs"):
        for network in ("conv", "test_vit"):
            before, after = of_arms(out, network, (control, "didgen"))
            labels, lesions = before[0].labels, before[0].units
            scores = [
                np.stack(
                    [balanced(correctness(p.probabilities, labels), labels, lesions) for p in arm]
                )
                for arm in (before, after)
            ]
            members.append(
                compare(
                    Contrast(network, "balanced accuracy", control, "didgen", True),
                    scores[0],
                    scores[1],
                    lesions,
                )
            )
    told = [one for one in benchmark["comparisons"] if one["judged"]]
    oracle = [one.to_dict() for one in holm(members)]
    assert json.loads(json.dumps(told)) == json.loads(json.dumps(oracle))
    assert {one["family"] for one in told} == {4}


def test_all_else_has_an_interval_and_no_verdict(classified: Done) -> None:
    out, benchmark = classified
    assert len(benchmark["comparisons"]) == (len(ARMS) - 1) * 3 * 2
    others = [one for one in benchmark["comparisons"] if not one["judged"]]
    assert {one["verdict"] for one in others} <= {UNJUDGED, UNTESTED}
    assert {one["p_holm"] for one in others} == {None}
    told = next(
        one
        for one in others
        if (one["control"], one["score"], one["model"]) == ("oversampled", "log-loss", "conv")
    )
    before, after = (
        np.stack([log_losses(one.probabilities, one.labels) for one in arm])
        for arm in of_arms(out, "conv", ("oversampled", "didgen"))
    )
    assert told["difference"] == pytest.approx(after.mean() - before.mean())
    assert not told["higher_is_better"]


def test_beating_every_rival_goes_by_the_largest_p(classified: Done) -> None:
    _, benchmark = classified
    rivals = ("oversampled", "class-weighted", "focal")
    overall, *each = benchmark["against_all"]
    assert overall["model"] == "every network and scale"
    assert [one["model"] for one in each] == ["conv", "test_vit"]
    for one in (overall, *each):
        assert set(one["rivals"]) == set(rivals)
        mine = [
            c
            for c in benchmark["comparisons"]
            if c["control"] in rivals
            and c["score"] == "balanced accuracy"
            and one["model"] in (c["model"], "every network and scale")
        ]
        assert one["comparisons"] == len(mine)
        if all(c["crossed"]["p"] is not None for c in mine):
            adverse = any(c["difference"] <= 0 for c in mine)
            assert one["p"] == (1.0 if adverse else max(c["crossed"]["p"] for c in mine))


def test_the_mean_over_seeds_is_told_with_its_spread(classified: Done) -> None:
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
