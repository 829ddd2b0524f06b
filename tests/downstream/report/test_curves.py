"""Tests of curves: what a log holds, however often a step was written, and a result."""

from pathlib import Path

import pytest

from didgen.downstream.pages.document import Paragraph
from didgen.downstream.report.blocks import Figure, Notice
from didgen.downstream.report.curves import POINTS, log_curves, read_log, training_curves
from tests.fixtures.logs import write_log


def test_a_log_is_read_whole_and_the_last_value_of_a_step_counts(tmp_path: Path) -> None:
    write_log(tmp_path, {"unet/loss": [(1, 4.0), (2, 3.0), (3, 2.0)]})
    # A training that went on from step 1 writes a second file.
    write_log(tmp_path, {"unet/loss": [(2, 2.5), (3, 1.5)], "unet/attn": [(2, 0.5)]})
    found = read_log(tmp_path)
    assert found["unet/loss"] == ([1, 2, 3], [4.0, 2.5, 1.5])
    assert found["unet/attn"] == ([2], [0.5])
    assert read_log(tmp_path / "none") == {}


def test_long_curves_are_thinned_and_gaps_left_out(tmp_path: Path) -> None:
    values = [(step, float("nan") if step == 7 else step) for step in range(1, 2001)]
    write_log(tmp_path, {"unet/loss": values, "autoencoder/loss": [(1, 1.0)]})
    blocks = list(log_curves(read_log(tmp_path)))
    figures = [block for block in blocks if isinstance(block, Figure)]
    assert len(figures) == 2
    assert "unet by step: loss from" in figures[1].alt and "nan" not in figures[1].alt
    first = float(figures[1].alt.split(" from ")[1].split(" to ")[0])
    assert 1 < first < 2 * 2000 / POINTS


def test_a_benchmark_has_a_curve_for_each_training(study: Path, tmp_path: Path) -> None:
    (figure,) = [b for b in training_curves(study / "classify") if isinstance(b, Figure)]
    assert "test_vit: best didgen 0." in figure.alt and "original 0." in figure.alt
    assert figure.dark is not None
    assert any(isinstance(b, Paragraph) and "none" in b.text for b in training_curves(tmp_path))


def test_a_broken_result_is_told_and_the_others_are_drawn(own_study: Path) -> None:
    (own_study / "segment/runs/unet/didgen/real-8/seed-0/result.json").write_text("{}")
    blocks = list(training_curves(own_study / "segment"))
    (notice,) = [block for block in blocks if isinstance(block, Notice)]
    assert "didgen/real-8/seed-0/result.json is not the result of a training" in notice.text
    (figure,) = [block for block in blocks if isinstance(block, Figure)]
    assert "unet, real-8: best didgen 0." in figure.alt


@pytest.mark.parametrize("damage", [b"", b"nothing of TensorBoard's"])
def test_a_log_that_is_none_gives_no_curve(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(damage)
    assert read_log(tmp_path) == {}
