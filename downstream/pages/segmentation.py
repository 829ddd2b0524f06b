"""The page of a segmentation benchmark: `benchmark.json` as a document."""

from collections.abc import Mapping, Sequence
from typing import Any

from didgen.downstream.pages.document import Block, Heading, Paragraph, Picture, Table
from didgen.downstream.pages.tables import (
    CROSSED,
    PARTS,
    dropped,
    in_order,
    interval,
    machine,
    networks,
    number,
    spread,
    verdicts,
)


def segmentation_page(benchmark: Mapping[str, Any]) -> list[Block]:
    """The page of a segmentation benchmark, from what its `benchmark.json` holds."""
    recipe, images = benchmark["recipe"], in_order(benchmark["images"], PARTS)
    return [
        Heading("Segmentation benchmark", 1),
        Paragraph(f"{recipe['image_size']} px, loss {recipe['loss']}, {machine(benchmark)}"),
        Table(
            ["pairs", *(name for name, _ in images)],
            [["all", *(str(count) for _, count in images)]],
            "Pairs of each part",
        ),
        Paragraph(
            f"The test images show {benchmark['lesions']['test']} lesions. Synthetic pairs are in "
            "training only."
        ),
        # All real pairs there are can be scarce for nobody.
        *(
            _scale(scale)
            for scale in benchmark["scales"]
            if scale["guided"] and scale["real"] is not None
        ),
        *dropped(benchmark["near_duplicates"]),
        Paragraph(networks(benchmark)),
        *verdicts(
            benchmark["comparisons"],
            f"{CROSSED} The real training pairs of a scale are the same in all seeds, and Holm's "
            "correction runs over networks and scales.",
        ),
        Heading("Figures on the test images"),
        Paragraph(
            "Mean over seeds ± standard deviation of the means over images; HD95 in pixels of "
            f"{recipe['image_size']}. The interval is of the Dice, 95 %, by bootstrap over lesions "
            "with the seeds averaged. The threshold Jaccard counts an IoU below 0.65 as 0. Images "
            "and masks are cut to their central square. Here each image counts the same, and in "
            "the comparisons each lesion."
        ),
        Table(
            [
                *("network", "real", "arm", "steps", "best at", "Dice", "interval", "IoU"),
                *("threshold Jaccard", "HD95", "sensitivity", "specificity"),
            ],
            [_mask_figures(arm) for arm in benchmark["arms"]],
            "Figures on the test images",
        ),
        *_filters(benchmark["scales"], recipe),
        *_plots(benchmark["plots"]),
    ]


def _scale(scale: Mapping[str, Any]) -> Paragraph:
    """Whose masks an arm with pairs has used."""
    return Paragraph(
        f"With {scale['pairs']} real pairs, `didgen` has also used masks of {scale['guides']} "
        f"lesions of the training split as layouts, {scale['guides_among_real']} of them lesions "
        "of these pairs, and the model that drew the synthetic pairs was trained on images beyond "
        "them: the real pairs are scarce for the network, not for the model behind its data."
    )


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


def _filters(scales: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> list[Block]:
    """What the quality filter kept at each scale."""
    reported = [(scale, scale["filter"]) for scale in scales if scale["filter"]]
    if not reported:
        return []
    return [
        Heading("Quality filter"),
        Paragraph(
            "Agreement is the Dice between a pair's mask and that of "
            f"{recipe['networks'][0]['called']}, trained on the real pairs less one of "
            f"{recipe['filter']['folds']} folds: the one of the pair's guide, if any. "
            f"`didgen-filtered` has the {recipe['filter']['keep']:.0%} of highest agreement; "
            "`filter/` says which."
        ),
        Table(
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
                for scale, found in reported
            ],
            "What the filter kept",
        ),
    ]


def _plots(plots: Sequence[Mapping[str, str]]) -> list[Block]:
    pictures = [Picture(plot["file"], plot["title"], plot["caption"]) for plot in plots]
    return [Heading("Plots"), *pictures] if pictures else []
