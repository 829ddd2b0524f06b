"""Tests of what all benchmarks share: how many processes augment images for a GPU."""

from collections import namedtuple
from pathlib import Path

import pytest
import torch

from didgen.downstream.benchmark.fit import WORKERS, workers_for
from didgen.downstream.data.images import Pictures

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("free", "workers"), [(2**21, WORKERS), (2**20, 0)])
def test_images_that_shared_memory_has_no_room_for_stay_in_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, workers: int
) -> None:
    pixels = torch.zeros(16, 3, 140, 140, dtype=torch.uint8)
    images = Pictures(tuple("abcdefghijklmnop"), tuple("abcdefghijklmnop"), pixels)
    monkeypatch.setattr("didgen.downstream.benchmark.fit.SHARED", tmp_path)
    monkeypatch.setattr(
        "didgen.downstream.benchmark.fit.disk_usage", lambda _: Usage(2**30, 0, free)
    )
    # The images take half a megabyte, and the batches of one image in flight another half of that.
    assert pixels.nbytes < 2**20 < pixels.nbytes * 3 // 2 < 2**21
    assert workers_for(images, 1) == workers
    assert workers_for(images, 16) == 0
    monkeypatch.setattr("didgen.downstream.benchmark.fit.SHARED", tmp_path / "none")
    assert workers_for(images, 16) == WORKERS
