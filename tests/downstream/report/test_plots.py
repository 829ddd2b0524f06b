"""Tests of plots: names of any kind, the same bytes, and a text that has the data."""

import base64
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest

from didgen.downstream.report.blocks import Figure
from didgen.downstream.report.plots import Curve, Effect, balance, confusions, curves, dots, forest

NAMES = ["MEL\x1b\ud800", "$\\frac{$", "_hidden", "<b>&amp;", "皮膚", "a" * 80 + "\x1b\ud800"]
NUMBERS = {name: place for place, name in enumerate(NAMES)}
LINES = [Curve(name, [1, 2], [0.5, place]) for name, place in NUMBERS.items()]
COUNTS = np.arange(36.0).reshape(6, 6)
PLOTS: dict[str, Callable[[], Figure]] = {
    "balance": lambda: balance(NAMES, NUMBERS, NUMBERS),
    "made": lambda: balance(NAMES, None, NUMBERS),
    "curves": lambda: curves(dict.fromkeys(NAMES, LINES), "step", "alt", ""),
    "confusions": lambda: confusions(NAMES, dict.fromkeys(NAMES, COUNTS), "alt"),
    "dots": lambda: dots(NAMES, {n: [0.5, None, 1, 0, 0.1, 0.2] for n in NAMES}, "recall"),
    "forest": lambda: forest([Effect(n, 0.1, (-0.1, 0.3), "null", 0) for n in NAMES], "difference"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_takes_any_name_and_is_the_same_again(name: str) -> None:
    one, again = PLOTS[name](), PLOTS[name]()
    assert one == again
    assert one.narrow is not None and one.narrow.width <= 343
    for uri in (one.data, one.dark, one.narrow.light, one.narrow.dark):
        assert uri is not None
        svg = base64.b64decode(uri.partition("base64,")[2])
        assert b"<dc:date>" not in svg
        root = ElementTree.fromstring(svg)  # noqa: S314 - our own
        assert root.tag.endswith("svg")
        assert not [node for node in root.iter() if node.tag.endswith("script")]
        texts = "".join(text for node in root.iter() for text in node.itertext())
        assert "<b>&amp;" in texts and "$\\frac{$" in texts
    assert len({one.data, one.dark, one.narrow.light, one.narrow.dark}) == 4


def test_the_alternative_text_has_the_data() -> None:
    figures = {name: draw().alt for name, draw in PLOTS.items()}
    assert " 0 real and 0 synthetic; $\\frac{$ 1 real and 1 synthetic" in figures["balance"]
    assert "_hidden 2 synthetic" in figures["made"] and "real" not in figures["made"]
    assert " 0.50, $\\frac{$ none, _hidden 1.00" in figures["dots"]
    assert ": +0.100 (-0.100 to +0.300), null" in figures["forest"]
