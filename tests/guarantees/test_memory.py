"""What follows the plan holds one shard in memory, and of the others a record of fixed size."""

import gc
import os
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, count
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.growth import STAGES, Place, Watch
from didgen.manifests.runs.finish import listed_sidecars
from didgen.manifests.shards.index import read_manifest

SHARD_SIZE = 128
FEW, MANY = 4, 20

LIMIT = 150_000
"""Bytes that memory may grow by from few shards to many: less than their keys alone take."""

READERS = [name for name in STAGES if not name.startswith(("augment", "write"))]


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Shards of this module's size, and no waiting for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "SHARD_SIZE", SHARD_SIZE)
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def places(quick: None, tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    """A finished run of few shards and one of many."""
    folder = tmp_path_factory.mktemp("growth")
    growth.write_source(folder / "source")
    found = [Place(folder / f"shards-{count}", count * SHARD_SIZE) for count in (FEW, MANY)]
    for place in found:
        STAGES["write"](place, Watch(0))
        STAGES["finish"](place, Watch(0))
    return found


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python held at most for some work, beyond those it held before."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def growth_of(places: list[Place], work: Callable[[Place], object]) -> int:
    """How much more memory some work takes on many shards."""
    few, many = places
    # The first call pays for imports and caches.
    work(few)
    return peak(lambda: work(many)) - peak(lambda: work(few))


@pytest.mark.parametrize("held", ["rows", "keys"])
def test_the_measure_sees_what_is_held(places: list[Place], held: str) -> None:
    def hold(place: Place) -> None:
        sidecars = chain(*listed_sidecars(place.run, read_manifest(place.run)).values())
        kept = [row if held == "rows" else row["key"] for one in sidecars for row in one.rows]
        assert len(kept) == place.samples

    assert growth_of(places, hold) > {"rows": 20, "keys": 1}[held] * LIMIT


@pytest.mark.parametrize("stage", READERS)
def test_memory_does_not_grow_with_the_samples(
    places: list[Place], stage: str, tmp_path: Path
) -> None:
    (tmp_path / "source").symlink_to(places[0].source)
    calls = count()

    def work(place: Place) -> None:
        # What a stage writes lies in a new folder each time.
        own = Place(tmp_path / str(next(calls)), place.samples)
        own.folder.mkdir()
        own.run.symlink_to(place.run)
        STAGES[stage](own, Watch(0))

    # What threads of other tests allocate meanwhile is counted too, and is not there again.
    grown = growth_of(places, work)
    grown = grown if grown < LIMIT else growth_of(places, work)
    print(stage, grown)
    assert grown < LIMIT
