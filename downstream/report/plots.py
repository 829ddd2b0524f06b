"""Plots of a report: SVG for light and dark, wide and narrow pages, the same bytes each time."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from didgen.downstream.pages.curves import Curves
from didgen.downstream.report.blocks import Drawing, Figure
from didgen.downstream.report.pictures import data_uri
from didgen.manifests.sources.records import class_words

LETTERS = 28
"""Of a name in a plot; a longer one is cut."""

COLUMNS = 3
"""Small plots side by side on a wide page; on a narrow one they stand below each other."""

NARROW = 3.5
"""Inches of a plot on a narrow page: a phone of 390 px has that beside its margins."""

Size = tuple[float, float]


@dataclass(frozen=True)
class Palette:
    """Colours of a plot on a light or a dark page: text, lines of the grid, and what is drawn.

    `series` goes by the palette of Okabe and Ito, which the colour-blind tell apart, darkened or
    lightened where it would not stand out from the page.
    """

    ink: str
    faint: str
    cells: str
    series: tuple[str, ...]


LIGHT = Palette(
    "#1c2126",
    "#d5d8dc",
    "Blues",
    ("#0072b2", "#b84a00", "#00795a", "#a8457f", "#8a6d00", "#3f7fa6", "#5b5b5b"),
)
DARK = Palette(
    "#e6e8ea",
    "#42484f",
    "cividis",
    ("#5fb4ee", "#f08a3c", "#35c495", "#e39ac4", "#e0c340", "#a3d5f5", "#b5b5b5"),
)

STYLES = ("-", "--", "-.", ":")

Paint = Callable[[Canvas, Palette, bool], None]
"""Draws a plot with the colours of a page, which is narrow or is not."""


@dataclass(frozen=True)
class Curve:
    """Values over steps; curves of one `group` have one colour and one entry of the legend."""

    group: str
    steps: Sequence[float]
    values: Sequence[float]


def balance(
    labels: Sequence[str], before: Mapping[str, int] | None, generated: Mapping[str, int]
) -> Figure:
    """Images of each class: the real ones, where they are known, and on them the synthetic ones."""
    names = {True: "real (before)", False: "synthetic (added)"}
    real = [0 if before is None else before.get(label, 0) for label in labels]
    added = [generated.get(label, 0) for label in labels]
    words = [class_words(label) if label else "no class" for label in labels]

    def paint(canvas: Canvas, palette: Palette, narrow: bool) -> None:
        axes = canvas.subplots()
        places = np.arange(len(labels))
        if before is not None:
            axes.barh(places, real, color=palette.series[0], label=names[True], height=0.7)
        bars = axes.barh(
            places, added, left=real, color=palette.series[1], label=names[False], height=0.7
        )
        reported = [
            f"{r} + {a}" if before is not None else str(a) for r, a in zip(real, added, strict=True)
        ]
        axes.bar_label(bars, reported, padding=4, fontsize="small")
        axes.set_yticks(places, [_short(word, 16 if narrow else LETTERS) for word in words])
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.set_xlabel("images")
        _bare(axes, palette, "x")
        canvas.legend(loc="outside upper center", ncols=1 if narrow else 2)

    reported = "; ".join(
        f"{word} " + (f"{r} real and {a} synthetic" if before is not None else f"{a} synthetic")
        for word, r, a in zip(words, real, added, strict=True)
    )
    height = 1.2 + 0.36 * len(labels)
    alt = f"Bars of images by class: {reported}."
    return _drawn(paint, (7.2, height), (NARROW, height + 0.2), alt)


def curves(panels: Mapping[str, Sequence[Curve]], xlabel: str, alt: str, caption: str) -> Figure:
    """Small plots of curves by title, each with its own scale; one legend for all."""
    columns, rows = _grid(len(panels))
    groups = list(dict.fromkeys(curve.group for every in panels.values() for curve in every))

    def paint(canvas: Canvas, palette: Palette, narrow: bool) -> None:
        places = _places(canvas, len(panels), narrow)
        for axes, (title, every) in zip(places, panels.items(), strict=False):
            for curve in every:
                axes.plot(
                    curve.steps,
                    curve.values,
                    marker="o" if len(curve.steps) < 3 else None,
                    markersize=3,
                    **_style(groups.index(curve.group), palette),
                )
            axes.set_title(_short(title, 40), fontsize="medium")
            axes.set_xlabel(xlabel)
            _bare(axes, palette, "both")
        _legend(canvas, groups, palette, 1 if narrow else 4)

    below, beside = (0.25 * -(-len(groups) // n) if len(groups) > 1 else 0 for n in (1, 4))
    wide = 1.2 + 3.1 * columns, 2.6 * rows + beside
    return _drawn(paint, wide, (NARROW, 2.4 * len(panels) + below), alt, caption)


def confusions(classes: Sequence[str], arms: Mapping[str, np.ndarray], alt: str) -> Figure:
    """Confusion matrices (C, C) by title: counts, and as colour the share of the true class."""
    columns, rows = _grid(len(arms))
    names = [_short(name, 8) for name in classes]

    def paint(canvas: Canvas, palette: Palette, narrow: bool) -> None:
        places = _places(canvas, len(arms), narrow)
        for axes, (title, counts) in zip(places, arms.items(), strict=False):
            shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
            axes.imshow(shares, cmap=palette.cells, vmin=0, vmax=1)
            for (row, column), count in np.ndenumerate(counts):
                shade = mpl.colormaps[palette.cells](shares[row, column])
                pale = np.dot(shade[:3], (0.2126, 0.7152, 0.0722)) > 0.42
                axes.text(
                    column,
                    row,
                    str(int(count)),
                    color="#000000" if pale else "#ffffff",
                    ha="center",
                    va="center",
                    fontsize="x-small",
                )
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize="small")
            axes.set_yticks(range(len(names)), names, fontsize="small")
            axes.set_title(_short(title), fontsize="medium")
            axes.set_xlabel("predicted", fontsize="small")
            axes.set_ylabel("true", fontsize="small")

    return _drawn(paint, (1.2 + 3.0 * columns, 3.1 * rows), (NARROW, 3.1 * len(arms)), alt)


def dots(rows: Sequence[str], series: Mapping[str, Sequence[float | None]], xlabel: str) -> Figure:
    """Figures in [0, 1] of each row, a class, with a mark for each series."""
    marks, words = "osD^vP*X", [class_words(row) for row in rows]

    def paint(canvas: Canvas, palette: Palette, narrow: bool) -> None:
        axes = canvas.subplots()
        spread = np.linspace(-0.27, 0.27, len(series)) if len(series) > 1 else [0.0]
        for number, ((name, values), shift) in enumerate(zip(series.items(), spread, strict=True)):
            known = [(value, place) for place, value in enumerate(values) if value is not None]
            axes.plot(
                [value for value, _ in known],
                [place + shift for _, place in known],
                linestyle="",
                marker=marks[number % len(marks)],
                color=palette.series[number % len(palette.series)],
                label=_short(name),
            )
        axes.set_yticks(range(len(rows)), [_short(w, 16 if narrow else LETTERS) for w in words])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel(xlabel)
        _bare(axes, palette, "both")
        canvas.legend(loc="outside upper center", ncols=1 if narrow else 3)

    reported = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{word} {'none' if value is None else format(value, '.2f')}"
            for word, value in zip(words, values, strict=True)
        )
        for name, values in series.items()
    )
    height = 1.0 + 0.42 * len(rows)
    below, beside = (height + 0.3 * -(-len(series) // n) for n in (1, 3))
    return _drawn(paint, (7.2, beside), (NARROW, below), f"{xlabel}. {reported}.")


def scarcity(curves: Curves) -> Figure:
    """The score of each arm over the number of real images, with its intervals."""
    order, names = curves.scales, list(curves.arms)
    scales = ["all" if real is None else str(real) for real in order]

    def paint(canvas: Canvas, palette: Palette, narrow: bool) -> None:
        axes = canvas.subplots()
        for number, points in enumerate(curves.arms.values()):
            shift = 0.4 * (number / max(1, len(names) - 1) - 0.5)
            style = _style(number, palette)
            places = [order.index(real) + shift for real, _, _ in points]
            axes.plot(places, [score for _, score, _ in points], marker="o", markersize=4, **style)
            for place, (_, _, interval) in zip(places, points, strict=True):
                if interval is not None:
                    axes.plot([place, place], interval, color=style["color"], linewidth=1)
        axes.set_xticks(range(len(order)), scales)
        axes.set_xlabel("real images")
        axes.set_ylabel(curves.score)
        _bare(axes, palette, "y")
        _legend(canvas, names, palette, 1 if narrow else 3)

    reported = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{scales[order.index(real)]} {score:.3f}"
            + ("" if ends is None else " ({:.3f} to {:.3f})".format(*ends))
            for real, score, ends in points
        )
        for name, points in curves.arms.items()
    )
    below, beside = (3.0 + 0.24 * -(-len(names) // n) for n in (1, 3))
    alt = f"{curves.title}. {reported}."
    return _drawn(paint, (6.4, beside), (NARROW, below), alt, f"{curves.title}. {curves.caption}")


@dataclass(frozen=True)
class Effect:
    """A difference with its interval, and what the verdict on it is."""

    name: str
    difference: float
    interval: tuple[float, float] | None
    verdict: str
    kind: int
    """0 where nothing is shown, 1 for better, 2 for worse."""


def forest(effects: Sequence[Effect], xlabel: str) -> Figure:
    """Differences with their intervals, one below the other, and the line of no difference."""

    def paint(canvas: Canvas, palette: Palette, narrow: bool) -> None:
        axes = canvas.subplots()
        axes.axvline(0, color=palette.ink, linewidth=0.8)
        colours = (palette.series[6], palette.series[2], palette.series[1])
        for place, effect in enumerate(effects):
            colour = colours[effect.kind]
            if effect.interval is not None:
                axes.plot(effect.interval, [place, place], color=colour, linewidth=2)
            axes.plot([effect.difference], [place], "so^"[effect.kind], color=colour)
            # Above its line, since a phone has no room beside it.
            name = _short(effect.name, 34 if narrow else 56)
            axes.text(
                0,
                place - 0.2,
                f"{name}: {effect.verdict}",
                transform=axes.get_yaxis_transform(),
                fontsize="small",
            )
        axes.set_yticks([])
        axes.set_ylim(len(effects) - 0.5, -0.7)
        axes.set_xlabel(xlabel)
        _bare(axes, palette, "x")

    reported = "; ".join(
        f"{one.name}: {one.difference:+.3f}"
        + ("" if one.interval is None else " ({:+.3f} to {:+.3f})".format(*one.interval))
        + f", {one.verdict}"
        for one in effects
    )
    height = 0.8 + 0.52 * len(effects)
    return _drawn(paint, (6.4, height), (NARROW, height), f"{xlabel}. {reported}.")


def _grid(count: int) -> tuple[int, int]:
    """Columns and rows of small plots on a wide page."""
    columns = min(COLUMNS, max(1, count))
    return columns, -(-count // columns)


def _places(canvas: Canvas, count: int, narrow: bool) -> Sequence[Axes]:
    """The axes of small plots; those that the last row has too many are taken away."""
    columns, rows = (1, count) if narrow else _grid(count)
    places = canvas.subplots(rows, columns, squeeze=False).ravel()
    for axes in places[count:]:
        axes.axis("off")
    return list(places)


def _style(number: int, palette: Palette) -> dict[str, Any]:
    count = len(palette.series)
    return {
        "color": palette.series[number % count],
        "linestyle": STYLES[number // count % len(STYLES)],
    }


def _legend(canvas: Canvas, groups: Sequence[str], palette: Palette, columns: int) -> None:
    if len(groups) < 2:
        return
    handles = [mpl.lines.Line2D([], [], **_style(n, palette)) for n in range(len(groups))]
    names = [_short(group) for group in groups]
    canvas.legend(handles, names, loc="outside upper center", ncols=columns, fontsize="small")


def _bare(axes: Axes, palette: Palette, grid: str) -> None:
    """No frame but the axis below, and a faint grid."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis=grid, color=palette.faint, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _short(text: str, letters: int = LETTERS) -> str:
    """A name cut to some letters, without the characters that no XML may hold."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return f"{text[: letters - 1]}…" if len(text) > letters else text


def _drawn(paint: Paint, wide: Size, narrow: Size, alt: str, caption: str = "") -> Figure:
    on_desk, on_phone = _twice(paint, wide, False), _twice(paint, narrow, True)
    return Figure(
        on_desk.light,
        alt,
        caption,
        on_desk.width,
        on_desk.height,
        on_desk.dark,
        narrow=on_phone,
    )


def _twice(paint: Paint, size: Size, narrow: bool) -> Drawing:
    """A plot for light pages and for dark ones."""
    light, dark = (
        data_uri(_svg(paint, size, palette, narrow), "image/svg+xml") for palette in (LIGHT, DARK)
    )
    width, height = (round(96 * inches) for inches in size)
    return Drawing(light, dark, width, height)


def _svg(paint: Paint, size: Size, palette: Palette, narrow: bool) -> bytes:
    settings: Any = {
        # Ids are else drawn by chance.
        "svg.hashsalt": "didgen",
        "svg.fonttype": "none",
        # A name with a dollar sign is no formula.
        "text.parse_math": False,
        **{
            f"{part}color": palette.ink
            for part in ("text.", "axes.label", "xtick.", "ytick.", "axes.title")
        },
        "axes.edgecolor": palette.faint,
        "legend.frameon": False,
        "font.size": 10,
    }
    # Without pyplot, which would look for a screen and keep every figure.
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A name may have letters that the font lacks; the viewer's own fonts will have them.
        warnings.simplefilter("ignore")
        canvas = Canvas(figsize=size, layout="constrained")
        FigureCanvasSVG(canvas)
        canvas.patch.set_alpha(0)
        paint(canvas, palette, narrow)
        for axes in canvas.axes:
            axes.patch.set_alpha(0)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
