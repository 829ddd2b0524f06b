"""Tests of measuring: variants take turns, and memory is that of a process apart."""

import pytest
import torch

from benchmarks.measure import medians, peak_memory, show


def test_variants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    found = medians({"one": lambda: order.append("one"), "two": lambda: order.append("two")}, 2)
    assert order == ["one", "two"] * 3
    assert found.keys() == {"one", "two"}
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.slow
def test_peak_memory_is_that_of_the_function_alone() -> None:
    mebibyte = 2**18
    assert torch.ones(700 * mebibyte).all()
    small, large = (peak_memory(torch.ones, count * mebibyte) for count in (1, 300))
    assert 290 < large - small < 330


def test_ratios_are_to_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    show("times", {"plain": 2.0, "guided": 3.0}, "seconds")
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["plain", "2.000", "1.00"] in lines
    assert ["guided", "3.000", "1.50"] in lines
