"""Long run: samples that nothing draws, by several processes that are killed at random moments.

python -m benchmarks.long_run --samples 1000000 --kills 200 --processes 2 --out /disk/run

At the end nothing may be lost and nothing there twice. Memory and open files of each process are
told by tenths of the run: they must not grow with what is done. `--out` may be the URL of a store.
"""

import argparse
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import growth
from benchmarks.growth import Place, Watch, undrawn
from didgen.manifests.files import located

POLL = 0.05
"""Seconds between two looks at the processes."""

DELAY = 1.0
"""Seconds at most between the count that a kill waits for and the kill."""

TENTHS = 10


class Counting(Watch):
    """A watch that counts the batches in memory that another process reads."""

    def __init__(self, count: Any) -> None:
        super().__init__(0.0)
        self.count = count

    def note(self, *_: object) -> None:
        self.count.value += 1


@dataclass
class Life:
    """A process from its start to its end, and the batches that it drew."""

    process: BaseProcess
    drawn: Any


@dataclass
class Figures:
    """What a long run came to.

    memory: MiB of the largest process; files: most open files of a process; each by the tenth of
    the run, of the batches drawn, in which it was seen.
    """

    samples: int
    processes: int
    planned: int = 0
    kills: int = 0
    seconds: float = 0.0
    made: int = 0
    failures: int = 0
    bad: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=lambda: [0.0] * TENTHS)
    files: list[int] = field(default_factory=lambda: [0] * TENTHS)


def long_run(out: str, samples: int, kills: int, processes: int, seed: int) -> Figures:
    """Make a run of so many samples into `out`, while its processes are killed, and judge it."""
    # Imported once, and handed down to the processes, whose memory then grows by none of it.
    import didgen.augment.captions.geometry
    import didgen.augment.generation.run  # noqa: F401
    from didgen.manifests.runs.verify import verify
    from didgen.manifests.shards.index import read_manifest

    figures, began = Figures(samples, processes), time.monotonic()
    _carry_on(out, figures, kills, np.random.default_rng(seed))
    figures.seconds = round(time.monotonic() - began, 1)
    place = located(out)
    figures.bad = [one.sentence for one in verify(place) if one.status != "ok"]
    totals = read_manifest(place).totals
    figures.made, figures.failures = totals.samples, totals.failures
    return figures


def _carry_on(out: str, figures: Figures, kills: int, chance: np.random.Generator) -> None:
    """Keep processes at the run until it is finished."""
    place = Place(Path("nowhere"), figures.samples)
    job = undrawn(place, Watch(0.0))
    figures.planned = sum(job.samples.values())
    size = job.recipe.sampling.batch_size
    shards = [plan.places(index) for plan in job.plan.values() for index in range(len(plan))]
    batches = sum(-(-len(places) // size) for places in shards)
    due = sorted(chance.uniform(0, batches, kills))
    before, lives = 0, [_begin(out, place) for _ in range(figures.processes)]
    while lives:
        time.sleep(POLL)
        done = before + sum(life.drawn.value for life in lives)
        tenth = min(TENTHS - 1, TENTHS * done // batches)
        for life in lives:
            _look(life, figures, tenth)
        if due and done >= due[0]:
            due.pop(0)
            time.sleep(chance.uniform(0, DELAY))
            victim = lives[chance.integers(len(lives))].process
            with suppress(ProcessLookupError):
                os.kill(int(victim.pid or 0), signal.SIGKILL)
        for life in [life for life in lives if not life.process.is_alive()]:
            lives.remove(life)
            before += life.drawn.value
            life.process.join()
            if life.process.exitcode == -signal.SIGKILL:
                figures.kills += 1
                lives.append(_begin(out, place))
            elif life.process.exitcode:
                raise SystemExit(f"A process ended with {life.process.exitcode}.")


def _begin(out: str, place: Place) -> Life:
    drawn = RawValue("q", 0)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(out, place, drawn))
    process.start()
    return Life(process, drawn)


def _work(out: str, place: Place, drawn: Any) -> None:
    from didgen.augment.generation.run import augment

    augment(undrawn(place, Counting(drawn)), located(out))


def _look(life: Life, figures: Figures, tenth: int) -> None:
    """Note memory and open files of a process, if it is still there."""
    with suppress(OSError, StopIteration):
        folder = Path("/proc") / str(life.process.pid)
        lines = (folder / "status").read_text().splitlines()
        memory = int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 2**10
        figures.memory[tenth] = max(figures.memory[tenth], round(memory, 1))
        figures.files[tenth] = max(figures.files[tenth], len([*(folder / "fd").iterdir()]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a long run, and print its figures; exit 1 where something is lost or there twice."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="benchmarks.long_run", description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=growth.SHARD_SIZE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="A new folder, or the URL of a store.")
    asked = parser.parse_args(arguments)
    growth.SHARD_SIZE = asked.shard_size
    found = long_run(asked.out, asked.samples, asked.kills, asked.processes, asked.seed)
    print(json.dumps(asdict(found)))
    if found.bad or found.made + found.failures != found.planned:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
