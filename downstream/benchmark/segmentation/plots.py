"""Plots of masks: how the Dice of each test image changes, and the images that went worst."""

import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from didgen.downstream.benchmark.carry_out import Findings, groups_of
from didgen.downstream.benchmark.plots import LINES, STYLES, new_figure, written
from didgen.downstream.benchmark.results import Segmentations
from didgen.downstream.benchmark.segmentation.job import SegmentationJob
from didgen.downstream.data.pairs import Pairs
from didgen.downstream.metrics.segmentation import Floats, Masks

WORST = 12
"""Images on the sheet of the worst cases."""

COLUMNS = 6

COLOURS = ("#FFFFFF", "#E69F00", "#56B4E9")
"""Outlines of the truth and of two arms, from the palette of Okabe and Ito, which the colour-blind
tell apart; the true one is white, and dashed where it lies under another."""


def draw_plots(
    job: SegmentationJob, findings: Findings[Segmentations], out: Path
) -> list[dict[str, str]]:
    """Draw the plots of every network and scale into `out`; their files, titles and captions.

    Those of the chosen use of the first run against `original`, on test images.
    """
    treatment = next(iter(findings.chosen.values()), None)
    found = findings.predictions.get("test", {})
    if treatment is None or "original" not in {t.arm for t in found}:
        return []
    plots: list[dict[str, str]] = []
    pairs = zip(*(groups_of(job, arm, found) for arm in ("original", treatment)), strict=True)
    for before, after in pairs:
        first = before[0]
        arms = {"original": [found[t] for t in before], treatment: [found[t] for t in after]}
        dice = {arm: np.mean([one.overlaps.dice for one in of], 0) for arm, of in arms.items()}
        what = job.model_name(first.network, first.real)
        slug = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{first.network.called}-{first.real or 'all'}")
        figure = changes({f"{treatment} - original": dice[treatment] - dice["original"]}, what)
        plots.append(
            written(
                figure,
                out,
                f"change-{slug}.png",
                f"{what}: change of Dice by image",
                "The curve has the test images by their change of Dice, the seeds averaged; what "
                "lies below zero got worse.",
            )
        )
        test = job.images["test"]
        masks = {arm: of[0].masks for arm, of in arms.items()}
        plots.append(
            written(
                worst(test, masks, dice, what),
                out,
                f"worst-{slug}.png",
                f"{what}: worst cases",
                f"The {min(WORST, len(test))} test images with the lowest Dice of `{treatment}`, "
                f"the seeds averaged. Outlines are those of seed {job.recipe.seeds[0]}.",
            )
        )
    return plots


def changes(curves: Mapping[str, Floats], what: str) -> Figure:
    """Differences of a score by image, each curve (N,) sorted by itself."""
    figure, (axes,) = new_figure(1, 1, (7.0, 4.2))
    for (name, differences), colour, style in zip(curves.items(), LINES, STYLES, strict=False):
        share = 100 * (np.arange(len(differences)) + 0.5) / len(differences)
        worse = int((differences < 0).sum())
        label = f"{name} (worse in {worse} of {len(differences)})"
        axes.plot(share, np.sort(differences), color=colour, linestyle=style, label=label)
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set_xlabel("test images by their change, %")
    axes.set_ylabel("change of Dice")
    axes.set_title(what)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure


def worst(test: Pairs, masks: Mapping[str, Masks], dice: Mapping[str, Floats], what: str) -> Figure:
    """The images with the lowest Dice of the last arm: true outline, and those of the arms.

    masks: (N, S, S) by arm; dice: (N,) by arm.
    """
    last = list(masks)[-1]
    colours = dict(zip(("truth", *masks), COLOURS, strict=True))
    chosen = np.argsort(dice[last], kind="stable")[:WORST]
    rows = -(-len(chosen) // COLUMNS)
    figure, every = new_figure(rows, COLUMNS, (2.1 * COLUMNS, 2.5 * rows + 0.9))
    for axes in every:
        axes.axis("off")
    for axes, place in zip(every, chosen, strict=False):
        axes.imshow(test.pixels[place].numpy().transpose(1, 2, 0))
        truth = test.masks[place].numpy()
        for name, mask in (("truth", truth), *((arm, masks[arm][place]) for arm in masks)):
            _outline(axes, mask, colours[name], "--" if name == "truth" else "-")
        reported = ", ".join(f"{arm} {dice[arm][place]:.2f}" for arm in masks)
        axes.set_title(f"{test.keys[place]}\n{reported}", fontsize="x-small")
    handles = [
        mpl.lines.Line2D([], [], color=colour, linestyle="--" if name == "truth" else "-")
        for name, colour in colours.items()
    ]
    figure.legend(
        handles,
        colours,
        loc="outside lower center",
        ncols=len(colours),
        facecolor="0.35",
        labelcolor="w",
    )
    figure.suptitle(f"{what}: lowest Dice of {last}")
    return figure


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str, style: str) -> None:
    # A border of skin closes outlines at the image's edge, and gives a whole mask one.
    if mask.any():
        side = np.arange(-1, mask.shape[0] + 1), np.arange(-1, mask.shape[1] + 1)
        padded = np.pad(mask, 1).astype(float)
        axes.contour(
            side[1], side[0], padded, [0.5], colors=[colour], linestyles=[style], linewidths=1.2
        )
