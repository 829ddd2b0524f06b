"""The summary of a segmentation benchmark: figures of every arm and scale, and the verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didgen.downstream.benchmark.job import Training
from didgen.downstream.benchmark.recipe import FILTERED, TREATMENT
from didgen.downstream.benchmark.results import Result, Segmentations
from didgen.downstream.benchmark.segmentation.job import SegmentationJob
from didgen.downstream.benchmark.segmentation.pair_filter import Agreements
from didgen.downstream.benchmark.summary import corrected, head, trained_in
from didgen.downstream.networks.network import Network
from didgen.downstream.stats.bootstrap import bootstrap_figure
from didgen.downstream.stats.comparison import Comparison, compare, summarise


def segmentation_outcome(
    job: SegmentationJob,
    results: Mapping[Training, Result],
    found: Mapping[Training, Segmentations],
    agreements: Mapping[int | None, Agreements],
) -> dict[str, Any]:
    """All that a segmentation benchmark says, from its masks; as JSON holds it."""
    recipe = job.recipe
    groups = [(network, count) for count in recipe.real for network in recipe.networks]
    comparisons: list[Comparison] = []
    for control, treatment in contrasts(recipe.arms):
        comparisons += corrected(
            [
                _compare_masks(job, network, count, (control, treatment), found)
                for network, count in groups
            ]
        )
    return {
        **head(job, results),
        "images": {name: len(part) for name, part in job.parts.items()},
        "scales": [_scale(job, count, agreements.get(count)) for count in recipe.real],
        "arms": [
            _masks_arm(job, network, count, arm, results, found)
            for network, count in groups
            for arm in recipe.arms
        ],
        "comparisons": [comparison.to_dict() for comparison in comparisons],
    }


def contrasts(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Which arms of a segmentation benchmark are compared: (control, treatment)."""
    every = [
        ("original", TREATMENT),
        ("original-epochs", TREATMENT),
        ("original", FILTERED),
        (TREATMENT, FILTERED),
    ]
    return [pair for pair in every if {*pair} <= {*arms}]


SCORES = {"Dice": "dice", "IoU": "iou", "threshold Jaccard": "threshold_jaccard", "HD95": "hd95"}
"""The scores of masks that arms are compared by; HD95 is a distance, the lower the better."""


def _masks_of(
    job: SegmentationJob, network: Network, count: int | None, arm: str
) -> list[Training]:
    """The trainings of a network in an arm at a scale, by seed."""
    return [t for t in job.trainings if (t.network, t.real, t.arm) == (network, count, arm)]


def _scale(
    job: SegmentationJob, count: int | None, agreements: Agreements | None
) -> dict[str, Any]:
    """Whose masks stand behind the training sets of a scale, and what the filter made of them."""
    real = job.real(count)
    guides = () if job.synthetic is None else job.synthetic.guides
    return {
        "real": count,
        "pairs": len(real),
        "guided": sum(guide != "" for guide in guides),
        "guides": len({*guides} - {""}),
        "guides_among_real": len({*guides} & {*real.lesions}),
        "filter": None if agreements is None else agreements.summary(),
    }


def _masks_arm(
    job: SegmentationJob,
    network: Network,
    count: int | None,
    arm: str,
    results: Mapping[Training, Result],
    found: Mapping[Training, Segmentations],
) -> dict[str, Any]:
    """The figures of a network in an arm at a scale over its seeds."""
    mine = _masks_of(job, network, count, arm)
    reported = [results[t].figures for t in mine]
    dice = np.mean([found[t].overlaps.dice for t in mine], 0)
    return {
        **trained_in(mine, results),
        "real": count,
        "figures": {name: vars(summarise([f[name] for f in reported])) for name in reported[0]},
        "dice_over_lesions": bootstrap_figure(
            lambda drawn: float(dice[drawn].mean()), found[mine[0]].lesions
        ),
    }


def _compare_masks(
    job: SegmentationJob,
    network: Network,
    count: int | None,
    arms: tuple[str, str],
    found: Mapping[Training, Segmentations],
) -> list[Comparison]:
    """One arm against another on one network at one scale, by each score."""
    before, after = ([found[t] for t in _masks_of(job, network, count, arm)] for arm in arms)

    def scores(of: list[Segmentations], name: str) -> NDArray[np.float64]:
        return np.stack([getattr(one.overlaps, name) for one in of])

    return [
        compare(
            scores(before, name),
            scores(after, name),
            before[0].lesions,
            model=f"{network.called}, {scale_name(job, count)}",
            score=score,
            names=arms,
            higher_is_better=score != "HD95",
        )
        for score, name in SCORES.items()
    ]


def scale_name(job: SegmentationJob, count: int | None) -> str:
    """A scale of scarcity in words."""
    return f"{count} real pairs" if count else f"all {len(job.real(None))} real pairs"
