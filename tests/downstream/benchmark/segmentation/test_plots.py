"""Tests of plots of masks: the changes that there are, and the images that went worst."""

import numpy as np
import torch
from matplotlib.colors import to_hex
from PIL import Image

from didgen.downstream.benchmark.segmentation.plots import COLOURS, WORST, changes, worst
from didgen.downstream.data.pairs import Pairs
from tests.fixtures.benchmarks import Done

RNG = np.random.default_rng(0)


def test_a_curve_is_the_sorted_change_and_says_how_many_got_worse() -> None:
    differences = np.array([0.2, -0.1, 0.0, 0.4])
    figure = changes({"didgen - original": differences, "other": -differences}, "net, 8 pairs")
    (axes,) = figure.axes
    first, second, zero = (np.asarray(line.get_data()) for line in axes.lines)
    assert first[1].tolist() == sorted(differences)
    assert first[0].tolist() == [12.5, 37.5, 62.5, 87.5]
    assert second[1].tolist() == sorted(-differences)
    assert set(zero[1]) == {0}
    assert axes.get_title() == "net, 8 pairs"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "didgen - original (worse in 1 of 4)",
        "other (worse in 2 of 4)",
    ]


def test_the_worst_cases_are_those_of_the_lowest_dice_with_every_outline() -> None:
    count = WORST + 4
    pixels = torch.from_numpy(RNG.integers(0, 256, (count, 3, 16, 16), np.uint8))
    masks = torch.zeros((count, 16, 16), dtype=torch.bool)
    masks[:, 4:10, 4:10] = True
    keys = tuple(f"ISIC_{place}" for place in range(count))
    test = Pairs(keys, keys, pixels, masks, keys)
    dice = {arm: RNG.permutation(count) / count for arm in ("original", "didgen")}
    predicted = {"original": masks.numpy(), "didgen": np.zeros_like(masks.numpy())}
    figure = worst(test, predicted, dice, "net")
    ranked = np.argsort(dice["didgen"])
    for axes, place in zip(figure.axes, ranked[:WORST], strict=True):
        name, told = axes.get_title().split("\n")
        assert name == keys[place]
        assert told == f"original {dice['original'][place]:.2f}, didgen {dice['didgen'][place]:.2f}"
        (shown,) = axes.images
        assert np.array_equal(
            np.asarray(shown.get_array()), pixels[place].numpy().transpose(1, 2, 0)
        )
        # An empty mask has no outline.
        drawn = [to_hex(np.asarray(one.get_edgecolor())[0]).upper() for one in axes.collections]
        assert drawn == [*COLOURS[:2]]


NETWORKS = ("unet", "wide")
SCALES = (8, None)


def test_each_network_and_scale_has_its_plots(segmented: Done) -> None:
    out, benchmark = segmented
    page = (out / "benchmark.md").read_text()
    named = {
        f"plots/{kind}-{network}-{real or 'all'}.png"
        for kind in ("change", "worst")
        for network in NETWORKS
        for real in SCALES
    } | {
        f"plots/scarcity-{part}-{network}.png"
        for part in ("validation", "test")
        for network in NETWORKS
    }
    assert {plot["file"] for plot in benchmark["plots"]} == named
    for name in named:
        assert f"]({name})" in page
        with Image.open(out / name) as image:
            assert image.format == "PNG"
            colours = image.convert("RGB").getcolors(2**24)
            assert colours is not None and len(colours) > 20
