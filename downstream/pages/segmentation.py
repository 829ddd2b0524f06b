"""The page of a segmentation benchmark: `benchmark.json` as a document."""

from collections.abc import Mapping, Sequence
from typing import Any

from didgen.downstream.pages.arms import (
    compared,
    count,
    figure_cells,
    history,
    known_interval,
    labels,
    plots,
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

SCALED = "At a scale each seed has real training pairs of its own."


def segmentation_page(benchmark: Mapping[str, Any]) -> list[Block]:
    """The page of a segmentation benchmark, from what its `benchmark.json` holds."""
    recipe, images = benchmark["recipe"], in_order(benchmark["images"], PARTS)
    return [
        Heading("Segmentation benchmark", 1),
        Paragraph(f"{recipe['image_size']} px, loss {recipe['loss']}, {machine(benchmark)}"),
        *history(benchmark),
        Table(
            ["pairs", *(name for name, _ in images)],
            [["all", *(str(pairs) for _, pairs in images)]],
            "Pairs of each part",
        ),
        *compared(benchmark, "pairs", f"{CROSSED} {SCALED}", _test_figures(benchmark)),
        *_filters(benchmark["scales"], recipe),
        *plots(benchmark),
    ]


def _test_figures(benchmark: Mapping[str, Any]) -> list[Block]:
    """The figures of the tested arms, on the test images and on another source."""
    blocks: list[Block] = []
    units, size = units_of(benchmark), benchmark["recipe"]["image_size"]
    for title, arms in tested_on(benchmark):
        blocks += [
            Heading(title),
            Paragraph(
                "Mean over seeds ± standard deviation of the means over images; HD95 in pixels of "
                f"{size}: of the distances from one outline to the other the 95th percentile, the "
                "larger of both directions; 0 where both masks are empty, and the diagonal where "
                f"one is. The interval is of the Dice in which {units} count alike, 95 %, by "
                f"bootstrap over {units} with the seeds averaged. The threshold Jaccard counts an "
                "IoU below 0.65 as 0. Images and masks are cut to their central square."
            ),
            Table(
                [
                    *("network", "real", "arm", "scope", "steps", "best at", "Dice", "interval"),
                    *("IoU", "threshold Jaccard", "HD95", "sensitivity", "specificity"),
                ],
                [_mask_figures(arm) for arm in arms],
                title,
            ),
        ]
    return blocks


def _mask_figures(arm: Mapping[str, Any]) -> list[str]:
    figures = arm["figures"]
    return [
        *labels(arm),
        str(arm["steps"]),
        ", ".join(map(str, arm["best_steps"])),
        spread(figures["dice"]),
        known_interval(arm["interval"]),
        *figure_cells(figures, ("iou", "threshold_jaccard", "hd95", "sensitivity", "specificity")),
    ]


def _filters(scales: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> list[Block]:
    """What the quality filter kept of each run at each scale."""
    reported = [(scale, found) for scale in scales for found in scale["filters"]]
    if not reported:
        return []
    names = ("least_agreement_kept", "mean_agreement_kept", "mean_agreement_dropped")
    return [
        Heading("Quality filter"),
        Paragraph(
            "Agreement is the Dice between a pair's mask and that of "
            f"{recipe['networks'][0]['called']}, trained on the real pairs less one of "
            f"{recipe['filter']['folds']} folds: the one of the pair's guide, if any. "
            f"The filter keeps the {recipe['filter']['keep']:.0%} of highest agreement; "
            "`filter/` says which."
        ),
        Table(
            [
                *("run", "real", "seed", "pairs", "kept"),
                *("least kept", "mean kept", "mean dropped"),
            ],
            [
                [
                    str(found.get("run", "-")),
                    count(scale["real"]),
                    "all" if found.get("seed") is None else str(found["seed"]),
                    str(found["pairs"]),
                    str(found["kept"]),
                    *(number(found[name]) for name in names),
                ]
                for scale, found in reported
            ],
            "What the filter kept",
        ),
    ]
