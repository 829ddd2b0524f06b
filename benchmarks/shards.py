"""Shards: our writer against webdataset's, hash and fsync included, and reading by two libraries.

python -m benchmarks.shards --folder /path/on/the/disk/to/measure
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import typer
import webdataset
from datasets import load_dataset

from benchmarks.measure import machine, medians, show
from didgen.manifests.files import sha256_of
from didgen.manifests.shards.shard import Sample, Stamp, read_shard, write_shard

THEIRS, THEIRS_SAFE, OURS = "webdataset.ShardWriter", "the same, then hashed and synced", "didgen"


def dummies(count: int, kilobytes: int) -> list[Sample]:
    """Samples as a model would make them, but of random bytes, which nothing on the way shrinks."""
    rng = np.random.default_rng(0)
    return [
        Sample(f"dummy-{n:06d}", {"jpg": rng.bytes(1000 * kilobytes), "cls": b"0", "json": b"{}"})
        for n in range(count)
    ]


def write_theirs(samples: list[Sample], folder: Path, size: int, safe: bool) -> None:
    """Write shards with webdataset; `safe` hashes and syncs each once it is closed."""

    def finish(name: str) -> None:
        if safe:
            sha256_of(Path(name))
            with open(name, "rb") as file:
                os.fsync(file.fileno())

    fresh(folder)
    pattern = str(folder / "images-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=size, verbose=0, post=finish) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, **sample.members})


def write_ours(samples: list[Sample], folder: Path, size: int) -> None:
    """Write the same shards with didgen: hashed, synced, renamed, and each with its sidecar."""
    fresh(folder)
    for index in range(0, len(samples), size):
        write_shard(
            folder,
            "images",
            index // size,
            samples[index : index + size],
            Stamp("dummy"),
        )


def fresh(folder: Path) -> None:
    """Empty a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def readers(tars: list[Path], cache: Path) -> dict[str, Callable[[], object]]:
    """Reading every byte of shards by didgen's strict reader and by two libraries."""
    names = [str(tar) for tar in tars]

    def by_didgen() -> None:
        for tar in tars:
            for _ in read_shard(tar):
                pass

    def by_webdataset() -> None:
        for _ in webdataset.WebDataset(names, shardshuffle=False):
            pass

    def by_datasets() -> None:
        loaded = load_dataset(
            "webdataset", data_files=names, split="train", streaming=True, cache_dir=str(cache)
        )
        for _ in loaded.decode(False):
            pass

    return {
        "webdataset": by_webdataset,
        "datasets, streaming": by_datasets,
        "didgen verify's reader": by_didgen,
    }


def main(
    samples: int = 2048,
    kilobytes: int = 60,
    shard_size: int = 256,
    rounds: int = 5,
    folder: Path | None = None,
) -> None:
    """Measure writing and reading of the same dummy samples in one process."""
    print(f"{machine()}; {os.getloadavg()[0]:.1f} processes at work before")
    made = dummies(samples, kilobytes)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        seconds = medians(
            {
                THEIRS: partial(write_theirs, made, place / "theirs", shard_size, False),
                THEIRS_SAFE: partial(write_theirs, made, place / "safe", shard_size, True),
                OURS: partial(write_ours, made, place / "ours", shard_size),
            },
            rounds,
        )
        tars = sorted((place / "ours").rglob("*.tar"))
        rates(f"writing {samples} samples", seconds, samples, tars)
        seconds = medians(readers(tars, place / "cache"), rounds)
        rates(f"reading {samples} samples", seconds, samples, tars)


def rates(title: str, seconds: dict[str, float], samples: int, tars: list[Path]) -> None:
    """Print medians as MB/s of tar and samples/s."""
    megabytes = sum(tar.stat().st_size for tar in tars) / 1e6
    show(title, {name: megabytes / taken for name, taken in seconds.items()}, "MB/s")
    show(title, {name: samples / taken for name, taken in seconds.items()}, "samples/s")


if __name__ == "__main__":
    typer.run(main)
