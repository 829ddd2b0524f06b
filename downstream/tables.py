"""Tables: a benchmark's record as a Markdown page, with the verdicts in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def benchmark_page(benchmark: Mapping[str, Any]) -> str:
    """The page of a classification benchmark, from what its `benchmark.json` holds."""
    recipe, classes = benchmark["recipe"], benchmark["classes"]
    left_out = f" (without {', '.join(recipe['exclude'])})" if recipe["exclude"] else ""
    lines = [
        "# Classification benchmark",
        "",
        (
            f"{len(classes)} classes{left_out}, {recipe['image_size']} px, "
            f"{len(recipe['seeds'])} seeds an arm, on {' and '.join(benchmark['devices'])}; "
            f"{benchmark['seconds'] / 60:.0f} minutes of training."
        ),
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
        *_dropped(benchmark["near_duplicates"]),
        "",
        "Networks: "
        + "; ".join(
            f"{one['called']} ({one['parameters'] / 1e6:.1f} M parameters, {one['weights']})"
            for one in benchmark["networks"]
        )
        + ".",
        "",
        "## Does the augmentation help?",
        "",
        "Each sentence rests on new lesions and new seeds both where there are two seeds or more.",
        "",
        *(f"- {one['sentence']}" for one in benchmark["comparisons"]),
        *([] if benchmark["comparisons"] else ["Nothing was compared: `arms` lacks a pair."]),
        "",
        *_tests(benchmark["comparisons"]),
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
            [_row(arm) for arm in benchmark["arms"]],
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


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table as lines; the first column is text, the others are set to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    cells = [header, rule, *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]


def number(value: float | None) -> str:
    """A figure with three decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def p_value(value: float | None) -> str:
    """A p with two digits; a dash where a test was not made."""
    return "-" if value is None else f"{value:.2g}"


def _dropped(near: Sequence[Mapping[str, Any]]) -> list[str]:
    if not near:
        return []
    pairs = ", ".join(
        f"{one['key']} ({one['split']}; {one['later_key']} in {one['later_split']})"
        for one in near[:5]
    )
    more = f" and {len(near) - 5} more" if len(near) > 5 else ""
    return ["", f"Left out as near-duplicates of a later split: {pairs}{more}."]


def _row(arm: Mapping[str, Any]) -> list[str]:
    figures = arm["figures"]
    low, high = arm["balanced_accuracy_over_lesions"]
    averages = [
        f"{kind}_{name}" for kind in ("macro", "weighted") for name in ("precision", "recall", "f1")
    ]
    return [
        arm["network"],
        arm["arm"],
        str(arm["steps"]),
        _spread(figures["balanced_accuracy"]),
        f"{low:.3f} to {high:.3f}",
        *(_spread(figures[name]) for name in ("accuracy", *averages)),
        *(_spread(figures[name]) for name in ("mean_auc", "ece", "sensitivity")),
    ]


def _spread(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "-"
    deviation = summary["deviation"]
    return number(summary["mean"]) + ("" if deviation is None else f" ± {deviation:.3f}")


def _tests(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every test of every comparison as a table."""
    if not comparisons:
        return []
    rows = []
    for one in comparisons:
        effect = one["effect"]
        rows.append(
            [
                one["model"],
                one["control"],
                one["score"],
                f"{one['difference']:+.3f}",
                "-" if one["bootstrap"] is None else "{:+.3f} to {:+.3f}".format(*one["bootstrap"]),
                *(p_value(one[test]["p"]) for test in ("over_lesions", "wilcoxon")),
                ", ".join(p_value(test["p"]) for test in one["mcnemar"]) or "-",
                *(p_value(one[test]["p"]) for test in ("over_seeds", "crossed")),
                p_value(one["p_holm"]),
                number(effect["d_z"]),
                one["verdict"],
            ]
        )
    return [
        (
            "p of each test of didgen against a rival on the same test images. Over lesions: these "
            "very networks; over seeds: these very lesions; crossed: both new, which decides."
        ),
        "",
        *table(
            [
                "network",
                "rival",
                "score",
                "difference",
                "bootstrap over lesions",
                "t-test",
                "Wilcoxon",
                "McNemar by seed",
                "over seeds",
                "crossed",
                "after Holm",
                "effect d_z",
                "verdict",
            ],
            rows,
        ),
        "",
    ]
