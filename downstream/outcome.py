"""Outcome: what the trainings of a benchmark say together.

Whether synthetic images help is asked against each rival by itself; Holm's correction runs over
the networks of one such question, and over the scales of scarcity where there are several: who
reads that pairs help a network at some scale has looked at all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from downstream.agreement import Agreements
from downstream.classification import balanced_accuracy, correctness, log_losses
from downstream.data import counts
from downstream.job import ClassificationJob, Job, SegmentationJob, Training
from downstream.recipe import FILTERED, TREATMENT, Arm, Network
from downstream.results import Predictions, Result, Segmentations
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
        comparisons += _corrected(
            [_compare(job, network, rival, predictions) for network in recipe.networks]
        )
    parts = dict(job.images) | ({} if job.made is None else {"synthetic": job.made})
    return {
        **_head(job, results),
        "classes": list(job.classes),
        "images": {name: counts(part, job.classes) for name, part in parts.items()},
        "arms": arms,
        "comparisons": [comparison.to_dict() for comparison in comparisons],
    }


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
        comparisons += _corrected(
            [
                _compare_masks(job, network, count, (control, treatment), found)
                for network, count in groups
            ]
        )
    parts = dict(job.images) | ({} if job.made is None else {"synthetic": job.made})
    return {
        **_head(job, results),
        "images": {name: len(part) for name, part in parts.items()},
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


def _head(job: Job, results: Mapping[Training, Result]) -> dict[str, Any]:
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


def _corrected(members: Sequence[Sequence[Comparison]]) -> list[Comparison]:
    """The comparisons of each member on every score, after Holm over the members of a score."""
    return [one for family in zip(*members, strict=True) for one in holm(family)]


def _trained(mine: Sequence[Training], results: Mapping[Training, Result]) -> dict[str, Any]:
    """What an arm's trainings took."""
    return {
        "network": mine[0].network.called,
        "arm": mine[0].arm,
        "seeds": [t.seed for t in mine],
        "steps": mine[0].steps,
        "best_steps": [results[t].training["best_step"] for t in mine],
        "stopped_at": [results[t].training["steps"] for t in mine],
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
        **_trained(mine, results),
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
    guides = () if job.made is None else job.made.guides
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
    told = [results[t].figures for t in mine]
    dice = np.mean([found[t].overlaps.dice for t in mine], 0)
    return {
        **_trained(mine, results),
        "real": count,
        "figures": {name: vars(summarise([f[name] for f in told])) for name in told[0]},
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
