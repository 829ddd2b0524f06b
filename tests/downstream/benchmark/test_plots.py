"""Curves over the number of real images: where each arm stands, with its interval."""

from typing import Any, cast

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from didgen.downstream.benchmark.plots import scarcity


def part(score: float) -> dict[str, object]:
    return {"score": score, "interval": (score - 0.1, score + 0.05)}


def test_each_arm_is_a_curve_from_few_images_to_all() -> None:
    values: dict[str, Any] = {
        "original": [(50, part(0.6)), (None, part(0.8)), (10, part(0.4))],
        "didgen": [(10, part(0.5)), (50, None), (None, {"score": 0.7, "interval": None})],
    }
    figure = scarcity(values, "net", "Dice")
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10", "50", "all"]
    first, second = cast(list[ErrorbarContainer], axes.containers)
    assert [float(place) for place in np.asarray(first.lines[0].get_xdata())] == pytest.approx(
        [0.85, 1.85, -0.15]
    )
    assert np.asarray(first.lines[0].get_ydata()).tolist() == [0.6, 0.8, 0.4]
    # Bars are the ends of the intervals, without one where there is none.
    ends = [sorted(line[:, 1].tolist()) for line in first.lines[2][0].get_segments()]
    assert ends[0] == pytest.approx([0.5, 0.65])
    assert np.asarray(second.lines[0].get_ydata()).tolist() == [0.5, 0.7]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["original", "didgen"]
