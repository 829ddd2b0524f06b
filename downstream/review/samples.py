"""The samples under review: what a page shows of each, and the source beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.privacy.paths import restored
from didgen.manifests.progress import Progress
from didgen.manifests.reviews.consensus import SampleId
from didgen.manifests.reviews.record import Origin
from didgen.manifests.runs.copy_scores import COPY
from didgen.manifests.runs.finish import read_whole_run
from didgen.manifests.shards.index import Manifest
from didgen.manifests.shards.shard import Sidecar
from didgen.manifests.sources.records import HEADER_FILE, SourceManifest, SourceRecord

SIMILARITY = "similarity to a training image"


@dataclass(frozen=True, slots=True)
class ReviewSample:
    """One sample of a run: where it lies, and what its row says.

    sha256: of its shard; nearest: the training image that the copy check found nearest, if any.
    """

    config: Config
    key: str
    label: str
    shard: str
    sha256: str
    prompt: str
    layout: str
    seed: int
    nearest: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class ReviewJob:
    """Samples made ready for review, and the source of real images where it is at hand.

    shards: the hashes that reviews may be of; origin: `real` for the photographs of a source.
    """

    directory: Path
    configs: tuple[Config, ...]
    classes: tuple[str, ...]
    shards: Sequence[str]
    samples: Mapping[SampleId, ReviewSample]
    source: SourceManifest | None
    origin: Origin = "synthetic"

    @cached_property
    def records(self) -> dict[str, SourceRecord]:
        """The real images of the source, by key."""
        return {r.key: r for r in self.source.records} if self.source else {}

    @cached_property
    def scores(self) -> list[str]:
        """The names of all scores that samples have."""
        return sorted({name for sample in self.samples.values() for name in sample.scores})

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that a reviewer may give a sample: that of a photograph stays as it is."""
        return self.classes if self.origin == "synthetic" else ()


def prepare_review(
    directory: Path, real: Path | None = None, progress: Progress | None = None
) -> ReviewJob:
    """Read a run for review; every shard is hashed, nothing is written.

    real: the source; without it, the one that the run's recipe names, if it lies there. A run that
    is not whole, a mix, and a run without samples are each a `DidgenError`.
    """
    manifest, sidecars = read_whole_run(directory, progress)
    if manifest.recipe.get("kind") == "mix":
        raise DidgenError(
            f"{directory} is a mix; review the run that `didgen augment` made, and mix it with "
            "`--reviewed accepted`."
        )
    samples = {
        (sample.config, sample.key): sample
        for shards in sidecars.values()
        for sidecar in shards
        for sample in _samples(sidecar)
    }
    if not samples:
        raise DidgenError(f"{directory} holds no sample to review; make some first.")
    return ReviewJob(
        directory,
        tuple(manifest.configs),
        tuple(manifest.classes),
        [one.sha256 for entries in manifest.configs.values() for one in entries],
        samples,
        _source(directory, manifest, real),
    )


def _source(directory: Path, manifest: Manifest, given: Path | None) -> SourceManifest | None:
    if given is not None:
        return SourceManifest.read(given)
    recorded = manifest.recipe.get("source")
    folder = restored(str(recorded), directory) if recorded else None
    at_hand = folder is not None and (folder / HEADER_FILE).is_file()
    return SourceManifest.read(folder) if at_hand and folder else None


def _samples(sidecar: Sidecar) -> Iterator[ReviewSample]:
    for key, row in sidecar.kept.items():
        copy = row.get(COPY)
        copy = copy if isinstance(copy, Mapping) else {}
        yield ReviewSample(
            sidecar.config,
            key,
            str(row.get("label") or ""),
            sidecar.shard,
            sidecar.sha256,
            str(row.get("prompt") or ""),
            str(row.get("layout") or ""),
            row["seed"] if isinstance(row.get("seed"), int) else 0,
            str(copy.get("nearest") or ""),
            figures(row.get("scores")) | figures({SIMILARITY: copy.get("similarity")}),
        )


def figures(scores: Any) -> dict[str, float]:
    """The finite numbers among scores."""
    if not isinstance(scores, Mapping):
        return {}
    numbers = {n: v for n, v in scores.items() if isinstance(v, int | float)}
    return {str(name): float(value) for name, value in numbers.items() if isfinite(value)}
