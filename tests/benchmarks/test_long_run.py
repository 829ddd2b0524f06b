"""The short form of the long run: two processes are killed again and again, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Half of the samples are images, of six classes alike: both counts are multiples of twelve.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def long_run(out: str, samples: int, kills: int) -> dict[str, Any]:
    """The figures of a long run in a process of its own, which forks and must have no threads."""
    asked = {"--samples": samples, "--kills": kills, "--shard-size": 50, "--out": out, "--seed": 1}
    words = [str(word) for pair in asked.items() for word in pair]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.long_run", *words], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def test_two_processes_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    figures = long_run(str(tmp_path / "run"), 3_996, kills=8)
    assert figures["kills"] >= 5 and not figures["bad"]
    assert figures["made"] + figures["failures"] == figures["planned"] == 3_996
    assert not [*(tmp_path / "run").rglob("*.tmp")] and not (tmp_path / "run" / ".locks").exists()
    # What the last processes hold is what the first ones held.
    memory, files = ([n for n in figures[name] if n] for name in ("memory", "files"))
    assert len(memory) > 5
    assert max(memory[-3:]) < max(memory[:3]) + 30
    assert max(files[-3:]) <= max(files[:3]) + 4


def test_two_processes_on_a_store_that_are_killed_lose_nothing(store: str) -> None:
    figures = long_run(f"{store}/long", 792, kills=2)
    assert figures["kills"] >= 1 and not figures["bad"]
    assert figures["made"] + figures["failures"] == figures["planned"] == 792
