"""Pages: what a benchmark's `benchmark.json` holds as Markdown, with the verdicts in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from downstream.tables import dropped, interval, machine, networks, number, spread, table, verdicts

CROSSED = "Each sentence rests on new lesions and new seeds both where there are two seeds or more."


def classification_page(benchmark: Mapping[str, Any]) -> str:
    """The page of a classification benchmark, from what its `benchmark.json` holds."""
    recipe, classes = benchmark["recipe"], benchmark["classes"]
    left_out = f" (without {', '.join(recipe['exclude'])})" if recipe["exclude"] else ""
    lines = [
        "# Classification benchmark",
        "",
        f"{len(classes)} classes{left_out}, {recipe['image_size']} px, {machine(benchmark)}",
        "",
        *table(
            ["images", *classes, "all"],
            [
                [name, *(str(count) for count in by_class.values()), str(sum(by_class.values()))]
                for name, by_class in benchmark["images"].items()
            ],
        ),
        "",
        (
            f"The test images show {benchmark['lesions']['test']} lesions. Synthetic images are "
            "in training only."
        ),
        *dropped(benchmark["near_duplicates"]),
        "",
        networks(benchmark),
        "",
        *verdicts(benchmark["comparisons"], CROSSED),
        "## Figures on the test images",
        "",
        (
            "Mean over seeds ± standard deviation. The interval is of the balanced accuracy, 95 %, "
            "by bootstrap over lesions with the seeds averaged. Each image has one class, so that "
            "micro precision, recall and F1 are one number, the accuracy; a table in which they "
            "differ does not hold micro averages."
        ),
        "",
        *table(
            [
                "network",
                "arm",
                "steps",
                "balanced accuracy",
                "interval",
                "accuracy (micro P, R, F1)",
            ]
            + [f"{kind} {name}" for kind in ("macro", "weighted") for name in ("P", "R", "F1")]
            + ["mean AUC", "ECE", f"{recipe['positive']} sensitivity at 90 % specificity"],
            [_class_figures(arm) for arm in benchmark["arms"]],
        ),
        "",
        "## Classes",
        "",
        "Recall / AUC of each class, mean over seeds.",
        "",
        *table(
            ["network", "arm", *classes],
            [
                [
                    arm["network"],
                    arm["arm"],
                    *(
                        f"{number(arm['per_class'][name]['recall'])} / "
                        f"{number(arm['per_class'][name]['auc'])}"
                        for name in classes
                    ),
                ]
                for arm in benchmark["arms"]
            ],
        ),
        "",
        "## Confusion",
        "",
        "Rows are true classes, columns predicted ones, summed over seeds.",
        "",
    ]
    for arm in benchmark["arms"]:
        rows = [[name, *map(str, row)] for name, row in zip(classes, arm["confusion"], strict=True)]
        lines += [f"{arm['network']}, {arm['arm']}:", "", *table(["", *classes], rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _class_figures(arm: Mapping[str, Any]) -> list[str]:
    figures = arm["figures"]
    averages = [
        f"{kind}_{name}" for kind in ("macro", "weighted") for name in ("precision", "recall", "f1")
    ]
    return [
        arm["network"],
        arm["arm"],
        str(arm["steps"]),
        spread(figures["balanced_accuracy"]),
        interval(arm["balanced_accuracy_over_lesions"]),
        *(spread(figures[name]) for name in ("accuracy", *averages)),
        *(spread(figures[name]) for name in ("mean_auc", "ece", "sensitivity")),
    ]


def segmentation_page(benchmark: Mapping[str, Any]) -> str:
    """The page of a segmentation benchmark, from what its `benchmark.json` holds."""
    recipe, images = benchmark["recipe"], benchmark["images"]
    lines = [
        "# Segmentation benchmark",
        "",
        f"{recipe['image_size']} px, loss {recipe['loss']}, {machine(benchmark)}",
        "",
        *table(["pairs", *images], [["all", *(str(count) for count in images.values())]]),
        "",
        (
            f"The test images show {benchmark['lesions']['test']} lesions. Synthetic pairs are in "
            "training only."
        ),
        *(_scale(scale) for scale in benchmark["scales"]),
        *dropped(benchmark["near_duplicates"]),
        "",
        networks(benchmark),
        "",
        *verdicts(
            benchmark["comparisons"],
            f"{CROSSED} The real training pairs of a scale are the same in all seeds, and Holm's "
            "correction runs over networks and scales.",
        ),
        "## Figures on the test images",
        "",
        (
            "Mean over seeds ± standard deviation of the means over images; HD95 in pixels of "
            f"{recipe['image_size']}. The interval is of the Dice, 95 %, by bootstrap over lesions "
            "with the seeds averaged. The threshold Jaccard counts an IoU below 0.65 as 0."
        ),
        "",
        *table(
            [
                *("network", "real", "arm", "steps", "best at", "Dice", "interval", "IoU"),
                *("threshold Jaccard", "HD95", "sensitivity", "specificity"),
            ],
            [_mask_figures(arm) for arm in benchmark["arms"]],
        ),
        "",
        *_filters(benchmark["scales"], recipe),
        *_plots(benchmark["plots"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _scale(scale: Mapping[str, Any]) -> str:
    """Whose masks an arm with pairs has used, in a sentence that is a paragraph of its own."""
    guided = ""
    if scale["guided"] and scale["real"] is not None:
        guided = (
            f" With {scale['pairs']} real pairs, `didgen` has also used masks of "
            f"{scale['guides']} lesions of the training split as layouts, "
            f"{scale['guides_among_real']} of them lesions of these pairs, and the model that drew "
            "the synthetic pairs was trained on images beyond them: the real pairs are scarce for "
            "the network, not for the model behind its data."
        )
    return f"\n{guided.strip()}" if guided else ""


def _mask_figures(arm: Mapping[str, Any]) -> list[str]:
    figures = arm["figures"]
    return [
        arm["network"],
        _count(arm["real"]),
        arm["arm"],
        str(arm["steps"]),
        ", ".join(map(str, arm["best_steps"])),
        spread(figures["dice"]),
        interval(arm["dice_over_lesions"]),
        *(spread(figures[name]) for name in ("iou", "threshold_jaccard", "hd95")),
        *(spread(figures[name]) for name in ("sensitivity", "specificity")),
    ]


def _count(real: int | None) -> str:
    return "all" if real is None else str(real)


def _filters(scales: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> list[str]:
    """What the quality filter kept at each scale."""
    told = [(scale, scale["filter"]) for scale in scales if scale["filter"]]
    if not told:
        return []
    return [
        "## Quality filter",
        "",
        (
            "Agreement is the Dice between a pair's mask and that of "
            f"{recipe['networks'][0]['called']}, trained on the real pairs less one of "
            f"{recipe['filter']['folds']} folds: the one of the pair's guide, if any. "
            f"`didgen-filtered` has the {recipe['filter']['keep']:.0%} of highest agreement; "
            "`filter/` says which."
        ),
        "",
        *table(
            ["real", "pairs", "kept", "least kept", "mean kept", "mean dropped"],
            [
                [
                    _count(scale["real"]),
                    str(found["pairs"]),
                    str(found["kept"]),
                    *(
                        number(found[name])
                        for name in (
                            "least_agreement_kept",
                            "mean_agreement_kept",
                            "mean_agreement_dropped",
                        )
                    ),
                ]
                for scale, found in told
            ],
        ),
        "",
    ]


def _plots(plots: Sequence[Mapping[str, str]]) -> list[str]:
    if not plots:
        return []
    lines = ["## Plots", ""]
    for plot in plots:
        lines += [f"![{plot['title']}]({plot['file']})", "", plot["caption"], ""]
    return lines
