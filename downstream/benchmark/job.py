"""Jobs: a recipe of a benchmark made ready, with its data checked."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from didgen.downstream.benchmark.arms.record import Arm
from didgen.downstream.benchmark.arms.use import Given
from didgen.downstream.benchmark.recipe import BenchmarkRecipe, Scale
from didgen.downstream.benchmark.scope import Origin, Scope, origin_of, widest
from didgen.downstream.data.images import Pictures
from didgen.downstream.data.leaks import (
    NearDuplicate,
    near_duplicates,
    perceptual_hashes,
    refuse,
    without,
)
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.weights import Weights
from didgen.manifests.choices import Config, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.privacy.pseudonyms import Naming, unit_naming
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.reviews.consensus import reviewed
from didgen.manifests.runs.finish import read_trained_on, read_whole_run
from didgen.manifests.runs.training_samples import (
    SyntheticSample,
    accepted_samples,
    check_run,
    training_samples,
)
from didgen.manifests.sources.records import SourceManifest, SourceRecord

P = TypeVar("P", bound=Pictures)

Hashes: TypeAlias = Mapping[Split, NDArray[np.bool_]]

JUDGE = "judge-"
"""How the arms of the quality filter's networks begin."""


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
class RunSamples(Generic[P]):
    """The samples of one run that may stand in training sets.

    layouts: by a sample's key, the key of the real image whose mask guided it. shared: the real
    images that the generator saw, where an arm asks for them; origin: what it is known to rest on.
    """

    images: P
    layouts: Mapping[str, str]
    sha256: str
    classes: list[str]
    origin: Origin
    shared: P | None = None


@dataclass(frozen=True)
class BenchmarkJob(ABC, Generic[P]):
    """A recipe made ready: the images, the weights to start from, and every training.

    records: those of the training images, by key. outside: images of the other source.
    """

    recipe: BenchmarkRecipe
    images: Mapping[Split, P]
    records: Mapping[str, SourceRecord]
    runs: Mapping[Path, RunSamples[P]]
    outside: P | None
    starts: Mapping[str, Start]
    unit: str
    """What tests and intervals count: `patient`, `lesion`, or both where some have no patient."""
    data: Mapping[str, Any]
    """What the images are, as the results record it."""
    dropped: tuple[dict[str, Any], ...]

    @cached_property
    def unit_names(self) -> Mapping[str, Naming]:
        """How each tested part's units are named on disk; a new secret is written beside a source.

        Rows of predictions are published, and patients must not be.
        """
        own = unit_naming(self.recipe.source)
        names = {"val": own, "test": own}
        outside = self.recipe.elsewhere
        return names if outside is None else names | {"outside": unit_naming(outside.source)}

    @property
    def parts(self) -> dict[str, P]:
        """The images of each split, of each run, and of the other source where there is one."""
        parts: dict[str, P] = dict(self.images.items())
        several = len(self.runs) > 1
        for folder, run in self.runs.items():
            parts[f"synthetic ({folder})" if several else "synthetic"] = run.images
        return parts if self.outside is None else parts | {"outside": self.outside}

    @abstractmethod
    def places(self, real: Scale, seed: int) -> Sequence[int]:
        """Which of the real training images a training of this scale and seed has."""

    @abstractmethod
    def sizes(self) -> Iterable[str]:
        """How many images each part has, in lines for a reader."""

    @abstractmethod
    def scale_name(self, real: Scale) -> str:
        """A scale of scarcity in words."""

    def model_name(self, network: Network, real: Scale) -> str:
        """A network and its scale in words; the network alone where there is no scarcity."""
        scarce = self.recipe.real != (None,)
        return f"{network.called}, {self.scale_name(real)}" if scarce else network.called

    def real(self, real: Scale, seed: int) -> P:
        """These images."""
        train = self.images["train"]
        return train if real is None else train.take(self.places(real, seed))

    def run_of(self, arm: Arm, training: Training) -> RunSamples[P] | None:
        """The run that an arm takes in a training."""
        if arm.run is None:
            return None
        return self.runs[self.recipe.run_folder(arm.run, training.real, training.seed)]

    def given(self, training: Training, kept: Sequence[int] | None = None) -> Given[P]:
        """What the arm of a training may use; kept: the places of samples that a filter keeps."""
        arm = self.recipe.arm(training.arm)
        run = self.run_of(arm, training)
        synthetic = None if run is None or arm.role != "use" else run.images
        if synthetic is not None and kept is not None:
            synthetic = synthetic.take(kept)
        return Given(
            self.real(training.real, training.seed),
            synthetic,
            None if run is None else run.shared,
            {} if run is None else run.layouts,
            arm.share or 0.0,
            arm.weight,
        )

    def scope(self, training: Training) -> Scope:
        """What the arm of a training rests on besides the real images that it was given."""
        run = self.run_of(self.recipe.arm(training.arm), training)
        if run is None:
            return Scope("closed")
        keys = self.real(training.real, training.seed).keys
        return run.origin.scope([self.records[key] for key in keys])

    def steps(self, network: Network, real: Scale, seed: int, arm: Arm | None = None) -> int:
        """Steps of a training: epochs over the real images and the largest run of the recipe."""
        count = len(self.places(real, seed))
        folders = [self.recipe.run_folder(name, real, seed) for name in self.recipe.runs]
        largest = max((len(self.runs[folder].images) for folder in folders), default=0)
        epoch = batches(self.recipe, count + largest)
        steps = (network.epochs or self.recipe.epochs) * epoch
        steps = min(steps, self.recipe.max_steps or steps)
        if arm is not None and arm.how.epochs:
            steps = math.ceil(steps * batches(self.recipe, count) / epoch)
        return steps

    @cached_property
    def trainings(self) -> tuple[Training, ...]:
        """Every training, seed by seed, so that a stopped benchmark has all of the first seeds."""
        return tuple(
            Training(network, arm.name, seed, self.steps(network, real, seed, arm), real)
            for seed in self.recipe.seeds
            for network in self.recipe.networks
            for real in self.recipe.real
            if seed in self.recipe.seeds_of(real)
            for arm in self.recipe.arms
        )

    @cached_property
    def judges(self) -> tuple[Training, ...]:
        """Every training of the quality filter, if it has any."""
        return self.judges_of(self.trainings)

    def judges_of(self, trainings: Iterable[Training]) -> tuple[Training, ...]:
        """The networks of the quality filter that these trainings need."""
        return ()

    def in_search(self, training: Training) -> bool:
        """Whether a training comes before the choice: a use of a run has some seeds alone."""
        searched = training.seed in self.recipe.searched
        return searched or self.recipe.arm(training.arm).role != "use"

    def at_most(self) -> tuple[Training, ...]:
        """The trainings that the benchmark takes at most, those of the filter among them: of each
        run the use that costs most, where that is chosen."""
        first = [training for training in self.trainings if self.in_search(training)]
        found = [*self.judges_of(first), *first]
        for run in self.recipe.runs if self.recipe.test else ():
            others: dict[str, list[Training]] = {}
            for training in self.trainings:
                if self.recipe.arm(training.arm).run == run and not self.in_search(training):
                    others.setdefault(training.arm, []).append(training)
            made = [[*self.judges_of(of), *of] for of in others.values()]
            found += max(made, key=lambda of: sum(t.steps for t in of), default=[])
        return tuple(found)

    def evaluate_every(self, training: Training) -> int:
        """Steps between evaluations. At a scale only the last step is evaluated: a full validation
        set that ends a training of few images would be hidden data."""
        if training.real is not None:
            return training.steps
        return self.recipe.evaluate_every or batches(self.recipe, len(self.images["train"]))


def check_scopes(job: BenchmarkJob[Any]) -> None:
    """Raise a `DidgenError` where a recipe asks for the closed scope and an arm has not got it."""
    if job.recipe.scope != "closed":
        return
    for training in job.trainings:
        scope = job.scope(training)
        if scope.name != "closed":
            raise DidgenError(
                f"`scope: closed` does not hold for {training}: its scope is {scope.name}, since "
                f"{scope.because}; give a run made from these images alone, or take `scope` out."
            )


def scope_of(job: BenchmarkJob[Any], trainings: Iterable[Training]) -> Scope:
    """The scope of an arm over its trainings: the widest one."""
    return widest(job.scope(training) for training in trainings)


def run_folders(recipe: BenchmarkRecipe) -> dict[Path, str]:
    """Every folder of a run that some training takes, with the run's name."""
    return {
        recipe.run_folder(name, real, seed): name
        for name in recipe.runs
        for real in recipe.real
        for seed in recipe.seeds_of(real)
    }


@dataclass(frozen=True)
class TakenRun:
    """A whole run that goes with the source: its samples, what its shards are, its classes."""

    samples: list[SyntheticSample]
    sha256: str
    classes: list[str]
    origin: Origin


def taken_from(
    folder: Path,
    recipe: BenchmarkRecipe,
    source: SourceManifest,
    config: Config,
    progress: Progress | None,
) -> TakenRun:
    """Read a run, and refuse one that is not whole or does not go with the source."""
    run, sidecars = read_whole_run(folder, progress)
    check_run(folder, run, recipe.source, source, config)
    shards, dropped = sidecars[config], recipe.drop_copies
    taken = [*training_samples(folder, run, config, shards, source, drop_copies=dropped)]
    kept: list[Any] = [one.key for one in taken] if recipe.drop_copies else []
    if recipe.reviewed:
        taken = [*accepted_samples(taken, config, reviewed(folder, run))]
        if not taken:
            raise DidgenError(
                f"{folder} has none of its {config} accepted; go on with `didgen review {folder}`."
            )
        kept = [[one.key, one.label, one.curves] for one in taken]
    layouts, starts = ([getattr(one, name) for one in taken] for name in ("layout", "start"))
    origin = origin_of(run, read_trained_on(folder, run), layouts, source, starts)
    return TakenRun(
        taken,
        fingerprint([*(sidecar.sha256 for sidecar in sidecars[config]), *kept]),
        run.classes,
        origin,
    )


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
    more: Mapping[Path, P],
    progress: Progress | None,
) -> tuple[dict[Split, P], dict[Path, P], list[NearDuplicate]]:
    """Images without those that are nearly some of a later split, which may be refused.

    more: images by their folder that stand in training sets besides those of the source.
    """
    duplicates = near_duplicates(images, hashes)
    left: dict[Path, P] = {}
    for folder, part in more.items():
        copies = nearly_later(part, images, hashes, progress)
        duplicates += copies
        left[folder] = without({"train": part}, copies)["train"]
        if not len(left[folder]):
            raise DidgenError(
                f"{folder} has no sample left without copies and near-duplicates; make more."
            )
    if recipe.near_duplicates == "refuse":
        refuse(duplicates, recipe.source)
    return without(images, duplicates), left, duplicates


def shared_records(
    recipe: BenchmarkRecipe, name: str, records: Iterable[SourceRecord], origin: Origin
) -> list[SourceRecord]:
    """Those of the training records that the generator of a run saw, where an arm asks for them."""
    if not any(arm.use == "shared-network" and arm.run == name for arm in recipe.arms):
        return []
    found = [record for record in records if origin.trained_on.lists(record)]
    if not found:
        raise DidgenError(
            f"The run {name} names no training image of {recipe.source} that its generator saw, so "
            "that no network can share them; take the arm of `shared-network` out."
        )
    return found


def unit_of(recipe: BenchmarkRecipe, source: SourceManifest) -> str:
    """The unit of a benchmark's tests, by the records of its sources."""
    outside = () if recipe.elsewhere is None else recipe.elsewhere.records()
    known = {record.patient_id is not None for record in (*source.records, *outside)}
    words = {"patient": True, "lesion": False}
    return " or ".join(word for word, patient in words.items() if patient in known)


def start_of(weights: Weights, built: nn.Module) -> Start:
    """What a network that was built from these weights starts from."""
    parameters = sum(part.numel() for part in built.parameters())
    return Start(weights, sha256_of(weights.file) if weights.file else None, parameters)


def batches(recipe: BenchmarkRecipe, images: int) -> int:
    """Batches of an epoch over so many images, the last one perhaps smaller."""
    return math.ceil(images / recipe.batch_size)
