"""Plots of any benchmark: each arm's score over the number of real images."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from didgen.downstream.pages.curves import PARTS, Curves, curves_of
from didgen.manifests.files import write_bytes

FOLDER = "plots"

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Curves, from the palette of Okabe and Ito, which the colour-blind tell apart; they come with line
styles of their own."""

STYLES = ("-", "--", "-.", ":")


def draw_scarcity(benchmark: Mapping[str, Any], out: Path) -> list[dict[str, str]]:
    """Draw the curves of every network; their files, titles and captions. None without scales."""
    return [written_curves(curves, out) for curves in curves_of(benchmark)]


def written_curves(curves: Curves, out: Path) -> dict[str, str]:
    """Draw the curves of a network into a folder; their file, title and caption."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"scarcity-{curves.part}-{curves.network}")
    return written(scarcity(curves), out, f"{name}.png", curves.title, curves.caption)


def scarcity(curves: Curves) -> Figure:
    """Scores by arm over the number of real images, all of them at the right end."""
    figure, (axes,) = new_figure(1, 1, (7.0, 4.6))
    order = curves.scales
    for number, (name, points) in enumerate(curves.arms.items()):
        shift = 0.3 * (number / max(1, len(curves.arms) - 1) - 0.5)
        means = [score for _, score, _ in points]
        ends = [interval or (score, score) for _, score, interval in points]
        axes.errorbar(
            [order.index(real) + shift for real, _, _ in points],
            means,
            np.abs(np.array(ends).T - np.array(means)),
            color=LINES[number % len(LINES)],
            linestyle=STYLES[number // len(LINES) % len(STYLES)],
            marker="o",
            markersize=4,
            capsize=2,
            label=name,
        )
    axes.set_xticks(range(len(order)), ["all" if real is None else str(real) for real in order])
    axes.set_xlabel("real images")
    axes.set_ylabel(curves.score)
    axes.set_title(f"{curves.network}, {PARTS[curves.part]}")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return figure


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
    """A figure and its axes, row by row."""
    # Without pyplot, which would look for a screen and keep every figure.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel())


def written(figure: Figure, out: Path, name: str, title: str, caption: str) -> dict[str, str]:
    """Write a figure into the folder of a benchmark; its file, title and caption."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    write_bytes(out / FOLDER / name, buffer.getvalue())
    return {"file": f"{FOLDER}/{name}", "title": title, "caption": caption}
