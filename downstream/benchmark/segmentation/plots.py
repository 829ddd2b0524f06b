"""Plots: how the Dice of each test image changes, and the images that went worst."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from didgen.downstream.benchmark.job import Training
from didgen.downstream.benchmark.results import Segmentations
from didgen.downstream.benchmark.segmentation.job import SegmentationJob
from didgen.downstream.benchmark.segmentation.summary import contrasts, scale_name
from didgen.downstream.data.pairs import Pairs
from didgen.downstream.metrics.segmentation import Floats, Masks
from didgen.manifests.files import write_bytes

FOLDER = "plots"

WORST = 12
"""Images on the sheet of the worst cases."""

COLUMNS = 6

COLOURS = {"truth": "#FFFFFF", "original": "#E69F00", "didgen": "#56B4E9"}
"""Outlines, from the palette of Okabe and Ito, which the colour-blind tell apart; the true one is
white, and dashed where it lies under another."""

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Curves, from the same palette, which come with line styles of their own."""

STYLES = ("-", "--", "-.", ":")


def draw_plots(
    job: SegmentationJob, found: Mapping[Training, Segmentations], out: Path
) -> list[dict[str, str]]:
    """Draw the plots of every network and scale into `out`; their files, titles and captions."""
    plots = []
    pairs = contrasts(job.recipe.arms)
    for count in job.recipe.real:
        for network in job.recipe.networks:
            arms: dict[str, list[Segmentations]] = {
                arm: [
                    found[t]
                    for t in job.trainings
                    if (t.network, t.real, t.arm) == (network, count, arm)
                ]
                for arm in job.recipe.arms
            }
            dice = {arm: np.mean([one.overlaps.dice for one in of], 0) for arm, of in arms.items()}
            what = f"{network.called}, {scale_name(job, count)}"
            slug = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{network.called}-{count or 'all'}")
            if pairs:
                figure = changes({f"{b} - {a}": dice[b] - dice[a] for a, b in pairs}, what)
                plots.append(
                    _written(
                        figure,
                        out,
                        f"change-{slug}.png",
                        f"{what}: change of Dice by image",
                        "Each curve has the test images by their change of Dice, the seeds "
                        "averaged; what lies below zero got worse.",
                    )
                )
            if ("original", "didgen") in pairs:
                test = job.images["test"]
                masks = {arm: arms[arm][0].masks for arm in ("original", "didgen")}
                figure = worst(test, masks, {arm: dice[arm] for arm in masks}, what)
                plots.append(
                    _written(
                        figure,
                        out,
                        f"worst-{slug}.png",
                        f"{what}: worst cases",
                        f"The {min(WORST, len(test))} test images with the lowest Dice of "
                        "`didgen`, the seeds averaged. Outlines are those of seed "
                        f"{job.recipe.seeds[0]}.",
                    )
                )
    return plots


def changes(curves: Mapping[str, Floats], what: str) -> Figure:
    """Differences of a score by image, each curve (N,) sorted by itself."""
    figure, (axes,) = _figure(1, 1, (7.0, 4.2))
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
    chosen = np.argsort(dice["didgen"], kind="stable")[:WORST]
    rows = -(-len(chosen) // COLUMNS)
    figure, every = _figure(rows, COLUMNS, (2.1 * COLUMNS, 2.5 * rows + 0.9))
    for axes in every:
        axes.axis("off")
    for axes, place in zip(every, chosen, strict=False):
        axes.imshow(test.pixels[place].numpy().transpose(1, 2, 0))
        truth = test.masks[place].numpy()
        for name, mask in (("truth", truth), *((arm, masks[arm][place]) for arm in masks)):
            _outline(axes, mask, COLOURS[name], "--" if name == "truth" else "-")
        reported = ", ".join(f"{arm} {dice[arm][place]:.2f}" for arm in masks)
        axes.set_title(f"{test.keys[place]}\n{reported}", fontsize="x-small")
    handles = [
        mpl.lines.Line2D([], [], color=colour, linestyle="--" if name == "truth" else "-")
        for name, colour in COLOURS.items()
    ]
    figure.legend(
        handles,
        COLOURS,
        loc="outside lower center",
        ncols=len(COLOURS),
        facecolor="0.35",
        labelcolor="w",
    )
    figure.suptitle(f"{what}: lowest Dice of didgen")
    return figure


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str, style: str) -> None:
    # A border of skin closes outlines at the image's edge, and gives a whole mask one.
    if mask.any():
        side = np.arange(-1, mask.shape[0] + 1), np.arange(-1, mask.shape[1] + 1)
        padded = np.pad(mask, 1).astype(float)
        axes.contour(
            side[1], side[0], padded, [0.5], colors=[colour], linestyles=[style], linewidths=1.2
        )


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
    # Without pyplot, which would look for a screen and keep every figure.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel())


def _written(figure: Figure, out: Path, name: str, title: str, caption: str) -> dict[str, str]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    write_bytes(out / FOLDER / name, buffer.getvalue())
    return {"file": f"{FOLDER}/{name}", "title": title, "caption": caption}
