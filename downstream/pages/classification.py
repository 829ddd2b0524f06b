"""The page of a classification benchmark: `benchmark.json` as a document."""

from collections.abc import Mapping, Sequence
from typing import Any

from didgen.downstream.pages.arms import (
    compared,
    figure_cells,
    history,
    known_interval,
    labels,
    plots,
    tested,
    tested_on,
)
from didgen.downstream.pages.document import Block, Heading, Paragraph, Table
from didgen.downstream.pages.tables import (
    CROSSED,
    PARTS,
    in_order,
    machine,
    number,
    spread,
    units_of,
)

AVERAGES = [f"{kind} {name}" for kind in ("macro", "weighted") for name in ("P", "R", "F1")]


def classification_page(benchmark: Mapping[str, Any]) -> list[Block]:
    """The page of a classification benchmark, from what its `benchmark.json` holds."""
    recipe, classes = benchmark["recipe"], benchmark["classes"]
    left_out = f" (without {', '.join(recipe['exclude'])})" if recipe["exclude"] else ""
    return [
        Heading("Classification benchmark", 1),
        Paragraph(
            f"{len(classes)} classes{left_out}, {recipe['image_size']} px, {machine(benchmark)}"
        ),
        *history(benchmark),
        Table(
            ["images", *classes, "all"],
            [
                [name, *(str(by_class[label]) for label in classes), str(sum(by_class.values()))]
                for name, by_class in in_order(benchmark["images"], PARTS)
            ],
            "Images by class",
        ),
        *compared(benchmark, "images", CROSSED, _test_figures(benchmark)),
        *_classes(benchmark),
        *plots(benchmark),
    ]


def _test_figures(benchmark: Mapping[str, Any]) -> list[Block]:
    """The figures of the tested arms, on the test images and on another source."""
    blocks: list[Block] = []
    units = units_of(benchmark)
    for title, arms in tested_on(benchmark):
        blocks += [
            Heading(title),
            Paragraph(
                "Mean over seeds ± standard deviation. The interval is of the balanced accuracy in "
                f"which {units} count alike, 95 %, by bootstrap over {units} of each class with "
                "the seeds averaged. Each image has one class, so that micro precision, recall and "
                "F1 are one number, the accuracy; a table in which they differ does not hold micro "
                "averages."
            ),
            Table(
                [
                    *("network", "real", "arm", "scope", "steps", "balanced accuracy", "interval"),
                    "accuracy (micro P, R, F1)",
                    *AVERAGES,
                    *("mean AUC", "ECE"),
                    f"{benchmark['recipe']['positive']} sensitivity at 90 % specificity",
                ],
                [_class_figures(arm) for arm in arms],
                title,
            ),
        ]
    return blocks


def _classes(benchmark: Mapping[str, Any]) -> list[Block]:
    """Figures and confusions of each class."""
    classes, arms = benchmark["classes"], tested(benchmark["arms"])
    if not arms:
        return []
    return [
        Heading("Classes"),
        Paragraph("Recall / AUC of each class, mean over seeds."),
        Table(
            ["network", "real", "arm", "scope", *classes],
            [
                [
                    *labels(arm),
                    *(
                        f"{number(arm['per_class'][name]['recall'])} / "
                        f"{number(arm['per_class'][name]['auc'])}"
                        for name in classes
                    ),
                ]
                for arm in arms
            ],
            "Recall / AUC of each class",
        ),
        Heading("Confusion"),
        Paragraph("Rows are true classes, columns predicted ones, summed over seeds."),
        *(block for arm in arms for block in _confusion(arm, classes)),
    ]


def _class_figures(arm: Mapping[str, Any]) -> list[str]:
    figures = arm["figures"]
    averages = [
        f"{kind}_{name}" for kind in ("macro", "weighted") for name in ("precision", "recall", "f1")
    ]
    return [
        *labels(arm),
        str(arm["steps"]),
        spread(figures["balanced_accuracy"]),
        known_interval(arm["interval"]),
        *figure_cells(figures, ("accuracy", *averages, "mean_auc", "ece", "sensitivity")),
    ]


def _confusion(arm: Mapping[str, Any], classes: Sequence[str]) -> list[Block]:
    rows = [[name, *map(str, row)] for name, row in zip(classes, arm["confusion"], strict=True)]
    real = arm.get("real")
    scale = "" if real is None else f", {real} real images a class"
    name = f"{arm['network']}, {arm['arm']}{scale}"
    return [Paragraph(f"{name}:"), Table(["", *classes], rows, f"Confusion of {name}")]
