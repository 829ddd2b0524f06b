"""Tests of the pace of a network: it is that of a pass that is warm, an image."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from didgen.downstream.networks import pace


def test_the_second_pass_counts_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Iterator[float] = iter((0.0, 100.0, 200.0, 206.0))
    asked: list[tuple[torch.Size, bool]] = []

    def network(pixels: Tensor) -> None:
        asked.append((pixels.shape, torch.is_grad_enabled()))

    monkeypatch.setattr(f"{pace.__name__}.time.perf_counter", lambda: next(clock))
    assert pace.pass_seconds(network, torch.zeros(2, 3, 8, 8)) == 3.0
    assert asked == [(torch.Size((2, 3, 8, 8)), False)] * 2
