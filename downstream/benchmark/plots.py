"""Plots of any benchmark: each arm's score over the number of real images."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from didgen.downstream.stats.comparison import plural
from didgen.manifests.files import write_bytes

FOLDER = "plots"

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Curves, from the palette of Okabe and Ito, which the colour-blind tell apart; they come with line
styles of their own."""

PARTS = {
    "validation": "validation images",
    "test": "test images",
    "outside": "images of another source",
}
"""What curves are drawn of, in words."""

STYLES = ("-", "--", "-.", ":")


def draw_scarcity(benchmark: Mapping[str, Any], out: Path) -> list[dict[str, str]]:
    """Draw the curves of every network; their files, titles and captions. None without scales."""
    return list(_curves(benchmark, out)) if len(benchmark["recipe"]["real"]) > 1 else []


def _curves(benchmark: Mapping[str, Any], out: Path) -> Iterator[dict[str, str]]:
    score = benchmark["score"]
    for network in dict.fromkeys(arm["network"] for arm in benchmark["arms"]):
        for part, images in PARTS.items():
            rows = [arm for arm in benchmark["arms"] if arm["network"] == network]
            values = {
                name: [(arm["real"], of_part(arm, part)) for arm in rows if arm["arm"] == name]
                for name in dict.fromkeys(arm["arm"] for arm in rows)
                if any(of_part(arm, part) for arm in rows if arm["arm"] == name)
            }
            if not values:
                continue
            slug = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{part}-{network}")
            yield written(
                scarcity(values, f"{network}, {images}", score),
                out,
                f"scarcity-{slug}.png",
                f"{network}: {score} over real images, {images}",
                "Mean over seeds by the number of real training images; bars are 95 % intervals "
                f"over {plural(benchmark['unit'])}, the seeds averaged.",
            )


def of_part(arm: Mapping[str, Any], part: str) -> Mapping[str, Any] | None:
    """What an arm's row says of a part of the images: its figures, score and interval."""
    if part in ("validation", "outside"):
        return arm.get(part)
    return arm if arm["figures"] is not None else None


def scarcity(
    values: Mapping[str, Sequence[tuple[int | None, Mapping[str, Any] | None]]],
    title: str,
    score: str,
) -> Figure:
    """Scores by arm over the number of real images, all of them at the right end."""
    figure, (axes,) = new_figure(1, 1, (7.0, 4.6))
    counts = {real for curve in values.values() for real, _ in curve}
    order = [*sorted(c for c in counts if c is not None), *([None] if None in counts else [])]
    for number, (name, curve) in enumerate(values.items()):
        shift = 0.3 * (number / max(1, len(values) - 1) - 0.5)
        known = [(real, one) for real, one in curve if one]
        places = [order.index(real) + shift for real, _ in known]
        means = [one["score"] for _, one in known]
        ends = [one["interval"] or (one["score"], one["score"]) for _, one in known]
        reach = np.abs(np.array(ends).T - np.array(means))
        axes.errorbar(
            places,
            means,
            reach,
            color=LINES[number % len(LINES)],
            linestyle=STYLES[number // len(LINES) % len(STYLES)],
            marker="o",
            markersize=4,
            capsize=2,
            label=name,
        )
    axes.set_xticks(range(len(order)), ["all" if real is None else str(real) for real in order])
    axes.set_xlabel("real images")
    axes.set_ylabel(score)
    axes.set_title(title)
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
