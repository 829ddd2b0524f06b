"""Tests of the summary of a segmentation: comparisons of its arms."""

import json

import numpy as np
import pytest

from didgen.downstream.benchmark.results import read_segmentations, training_folder
from didgen.downstream.stats.comparison import Contrast, compare, holm
from tests.fixtures.benchmarks import Done

NETWORKS = ("unet", "wide")


def test_the_comparisons_are_those_of_the_masks_seed_by_seed(segmented: Done) -> None:
    out, benchmark = segmented
    controls = ("original", "original-epochs")
    (chosen,) = [one["name"] for one in benchmark["choices"]["didgen"] if one["chosen"]]
    # Two controls, four scores, two networks at two scales.
    assert len(benchmark["comparisons"]) == 2 * 4 * 4
    members = []
    for control in controls:
        for real, words in ((8, "8 real pairs"), (None, "all 18 real pairs")):
            for network in NETWORKS:
                before, after = (
                    [
                        read_segmentations(training_folder(out, network, arm, s, real))
                        for s in (0, 1)
                    ]
                    for arm in (control, chosen)
                )
                members.append(
                    compare(
                        Contrast(f"{network}, {words}", "Dice", control, chosen, True),
                        np.stack([one.overlaps.dice for one in before]),
                        np.stack([one.overlaps.dice for one in after]),
                        before[0].units,
                    )
                )
    oracle = [json.loads(json.dumps(one.to_dict())) for one in holm(members)]
    told = [one for one in json.loads(json.dumps(benchmark["comparisons"])) if one["judged"]]
    for one, other in zip(told, oracle, strict=True):
        assert {one[name] == other[name] for name in ("model", "verdict", "family")} == {True}
        # Figures are rounded on disk.
        for name in ("difference", "p_holm", "control_mean", "smallest_gain"):
            assert one[name] == pytest.approx(other[name], abs=1e-5)
    distances = [one for one in benchmark["comparisons"] if one["score"] == "HD95"]
    assert not any(one["higher_is_better"] for one in distances)
