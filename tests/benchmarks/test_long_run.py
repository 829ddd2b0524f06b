"""The short form of the long run: two processes are killed again and again, and nothing is lost."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.long_run import Figures, expected, long_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SAMPLES = 6_000


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Small shards, and no waiting for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "SHARD_SIZE", 50)
        patch.setattr(os, "fsync", lambda _: None)
        yield


def assert_flat(figures: Figures) -> None:
    """Memory and open files of the last tenths are those of the first ones."""
    memory, files = ([n for n in row if n] for row in (figures.memory, figures.files))
    assert len(memory) > 5
    assert max(memory[-3:]) < max(memory[:3]) + 30
    assert max(files[-3:]) <= max(files[:3]) + 4


def test_two_processes_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    figures = long_run(str(tmp_path / "run"), SAMPLES, kills=12, processes=2, seed=1)
    assert figures.kills >= 8
    assert not figures.bad
    assert figures.made + figures.failures == expected(SAMPLES)
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert_flat(figures)


def test_two_processes_on_a_store_that_are_killed_lose_nothing(store: str) -> None:
    figures = long_run(f"{store}/long", 1_500, kills=3, processes=2, seed=2)
    assert figures.kills >= 1
    assert not figures.bad
    assert figures.made + figures.failures == expected(1_500)
