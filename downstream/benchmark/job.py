"""Jobs: a recipe of a benchmark made ready, with its data checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from didgen.downstream.benchmark.recipe import BenchmarkRecipe
from didgen.downstream.data.images import Pictures
from didgen.downstream.data.leaks import NearDuplicate, near_duplicates, refuse, without
from didgen.downstream.data.perceptual_hash import perceptual_hashes
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.weights import Weights
from didgen.manifests.choices import Config, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.reviews.consensus import reviewed
from didgen.manifests.runs.finish import read_whole_run
from didgen.manifests.runs.training_samples import (
    SyntheticSample,
    accepted_samples,
    check_run,
    training_samples,
)
from didgen.manifests.shards.index import Manifest
from didgen.manifests.sources.records import SourceManifest

P = TypeVar("P", bound=Pictures)

Hashes: TypeAlias = Mapping[Split, NDArray[np.bool_]]


@dataclass(frozen=True)
class Start:
    """What a network starts from, with the hash of its file; its size."""

    weights: Weights
    sha256: str | None
    parameters: int


@dataclass(frozen=True)
class Training:
    """One training of a benchmark: a network in an arm by a seed.

    real: how many of the real images it has; None for all.
    """

    network: Network = field(hash=False)
    arm: str
    seed: int
    steps: int
    real: int | None = None

    def __str__(self) -> str:
        scale = "" if self.real is None else f", {self.real} real"
        return f"{self.network.called}, {self.arm}{scale}, seed {self.seed}"


@dataclass(frozen=True)
class BenchmarkJob(Generic[P]):
    """A recipe made ready: the images, the weights to start from, and every training."""

    recipe: BenchmarkRecipe
    images: Mapping[Split, P]
    synthetic: P | None
    starts: Mapping[str, Start]
    trainings: tuple[Training, ...]
    data: Mapping[str, Any]
    """What the images are, as the results record it."""
    dropped: tuple[dict[str, Any], ...]

    @property
    def parts(self) -> dict[str, P]:
        """The images of each split, and the synthetic ones where there are any."""
        parts: dict[str, P] = dict(self.images.items())
        return parts if self.synthetic is None else parts | {"synthetic": self.synthetic}


def synthetic_of(
    recipe: BenchmarkRecipe, source: SourceManifest, config: Config, progress: Progress | None
) -> tuple[Manifest, list[SyntheticSample], str]:
    """A whole run that goes with the source: its manifest, its samples, what its shards are."""
    assert recipe.run is not None
    run, sidecars = read_whole_run(recipe.run, progress)
    check_run(recipe.run, run, recipe.source, source, config)
    taken = list(
        training_samples(
            recipe.run,
            run,
            config,
            sidecars[config],
            recipe.source,
            source,
            drop_copies=recipe.drop_copies,
        )
    )
    kept: list[Any] = [one.key for one in taken] if recipe.drop_copies else []
    if recipe.reviewed:
        taken = [*accepted_samples(taken, config, reviewed(recipe.run, run))]
        if not taken:
            raise DidgenError(
                f"{recipe.run} has none of its {config} accepted; go on with `didgen review "
                f"{recipe.run}`."
            )
        kept = [[one.key, one.label, one.curves] for one in taken]
    return run, taken, fingerprint([*(sidecar.sha256 for sidecar in sidecars[config]), *kept])


def nearly_later(
    part: Pictures,
    images: Mapping[Split, Pictures],
    hashes: Hashes,
    progress: Progress | None,
) -> list[NearDuplicate]:
    """Those of `part`, which is for training, that are nearly validation or test images."""
    found = near_duplicates(
        {**images, "train": part}, {**hashes, "train": perceptual_hashes(part, progress)}
    )
    return [one for one in found if one.split == "train"]


def screened(
    recipe: BenchmarkRecipe,
    images: dict[Split, P],
    hashes: Hashes,
    synthetic: P | None,
    progress: Progress | None,
) -> tuple[dict[Split, P], P | None, list[NearDuplicate]]:
    """Images without those that are nearly some of a later split, which may be refused."""
    duplicates = near_duplicates(images, hashes)
    if synthetic is not None:
        copies = nearly_later(synthetic, images, hashes, progress)
        duplicates += copies
        synthetic = without({"train": synthetic}, copies)["train"]
        if not len(synthetic):
            raise DidgenError(
                f"{recipe.run} has no sample left without copies and near-duplicates; make more."
            )
    if recipe.near_duplicates == "refuse":
        refuse(duplicates, recipe.source)
    return without(images, duplicates), synthetic, duplicates


def start_of(weights: Weights, built: nn.Module) -> Start:
    """What a network that was built from these weights starts from."""
    parameters = sum(part.numel() for part in built.parameters())
    return Start(weights, sha256_of(weights.file) if weights.file else None, parameters)


def batches(recipe: BenchmarkRecipe, images: int) -> int:
    """Batches of an epoch over so many images, the last one perhaps smaller."""
    return math.ceil(images / recipe.batch_size)
