"""Tests of the figures on held-out images; those of the bundled model are with its tests."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablation, heldout, normaliser, restoration, zero_shot
from benchmarks.heldout import ious
from didgen.manifests.errors import DidgenError
from tests.fixtures.sources import manifest_of, record


def test_ious_count_pixels() -> None:
    square = np.zeros((4, 4, 4), bool)
    square[0, :2] = square[1, 1:3] = square[2, 0, 0] = True
    truth = np.zeros((4, 4, 4), bool)
    truth[0, :2] = truth[1, :2] = truth[3, 0, 0] = True
    assert ious(square, truth) == [1.0, 1 / 3, 0.0, 0.0]
    assert ious(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 2), bool)) == [1.0]


@pytest.mark.parametrize(
    "script",
    [
        partial(ablation.main, model="mini"),
        partial(heldout.main, "mini"),
        partial(normaliser.main, out=Path("nowhere")),
        partial(restoration.main, "mini", weights="none"),
        partial(zero_shot.main, "mini"),
    ],
    ids=["ablation", "heldout", "normaliser", "restoration", "zero_shot"],
)
def test_no_model_is_measured_on_what_it_was_trained_on(
    script: Callable[..., None], tmp_path: Path
) -> None:
    """The bundled model was trained on ISIC_0000000."""
    held_out = record("ISIC_0000000", mask="ISIC_0000000.png", split="test")
    manifest_of(tmp_path, held_out, classes=(), fractions=(0, 0, 1)).write(tmp_path)
    with pytest.raises(DidgenError, match="The model mini was trained on ISIC_0000000"):
        script(source=tmp_path)
