"""Curves over the number of real images: where each arm stands, with its interval."""

from typing import Any, cast

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from didgen.downstream.benchmark.plots import scarcity
from didgen.downstream.pages.curves import Curves


def test_each_arm_is_a_curve_from_few_images_to_all() -> None:
    arms: dict[str, Any] = {
        "original": [(50, 0.6, (0.5, 0.65)), (None, 0.8, (0.7, 0.85)), (10, 0.4, (0.3, 0.45))],
        "didgen": [(10, 0.5, [0.4, 0.55]), (None, 0.7, None)],
    }
    figure = scarcity(Curves("net", "test", "Dice", "lesion", arms))
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
