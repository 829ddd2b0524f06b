"""Jobs: a recipe of the classification benchmark made ready, with its data checked."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from downstream.classifiers import Weights, build_classifier, find_weights
from downstream.data import Images, Progress, load_real, load_synthetic
from downstream.leaks import (
    check_classes,
    check_records,
    near_duplicates,
    perceptual_hashes,
    refuse,
    without,
)
from downstream.recipe import Arm, ClassifyRecipe, Network
from manifests.errors import DidgenError
from manifests.files import sha256_of
from manifests.recipe import fingerprint
from manifests.records import SPLITS, SourceManifest, Split
from manifests.runs import read_whole_run
from manifests.synthetic import check_run, synthetic


@dataclass(frozen=True)
class Start:
    """What a network starts from, with the hash of its file; its size."""

    weights: Weights
    sha256: str | None
    parameters: int


@dataclass(frozen=True)
class Training:
    """One training of the benchmark: a network in an arm by a seed."""

    network: Network = field(hash=False)
    arm: Arm
    seed: int
    steps: int

    def __str__(self) -> str:
        return f"{self.network.called}, {self.arm}, seed {self.seed}"


@dataclass(frozen=True)
class Job:
    """A recipe made ready: the images, the weights to start from, and every training."""

    recipe: ClassifyRecipe
    classes: tuple[str, ...]
    images: Mapping[Split, Images]
    made: Images | None
    starts: Mapping[str, Start]
    trainings: tuple[Training, ...]
    data: Mapping[str, Any]
    """What the images are, as the results record it."""
    dropped: tuple[dict[str, Any], ...]

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations: those that the real images take."""
        return math.ceil(len(self.images["train"]) / self.recipe.batch_size)


def prepare(recipe: ClassifyRecipe, progress: Progress | None = None) -> Job:
    """Read and check all that a benchmark needs, before anything is trained.

    Raises DidgenError for a class or label set that does not fit, lesions or near-duplicates in
    two splits, a run that is not whole or no run of this source, weights that are not at hand.
    """
    source = SourceManifest.read(recipe.source)
    classes = _classes(recipe, source)
    starts = {network.called: _start(network, len(classes)) for network in recipe.networks}
    records = {
        split: [r for r in source.select(split=split, labelled=True) if r.label in classes]
        for split in SPLITS
    }
    check_records(records, classes, recipe.source)
    size = recipe.image_size
    images = {split: load_real(source, records[split], classes, size, progress) for split in SPLITS}
    data: dict[str, Any] = {
        "real": fingerprint(
            {split: [[r.sha256, r.label] for r in records[split]] for split in SPLITS}
        )
    }
    hashes = {split: perceptual_hashes(images[split], progress) for split in SPLITS}
    duplicates = near_duplicates(images, hashes)
    made = None
    if recipe.run is not None:
        run, sidecars = read_whole_run(recipe.run, progress)
        check_run(recipe.run, run, recipe.source, source, "images")
        every = synthetic(recipe.run, run, "images", sidecars["images"], recipe.source, source)
        taken = [one for one in every if one.label in classes]
        if not taken:
            raise DidgenError(
                f"{recipe.run} has no image of {', '.join(classes)}; make some first."
            )
        made = load_synthetic(recipe.run, taken, classes, run.classes, size, progress)
        data["run"] = fingerprint([sidecar.sha256 for sidecar in sidecars["images"]])
        found = near_duplicates(
            images | {"train": made}, hashes | {"train": perceptual_hashes(made, progress)}
        )
        copies = [one for one in found if one.split == "train"]
        duplicates += copies
        made = without({"train": made}, copies)["train"]
    if recipe.near_duplicates == "refuse":
        refuse(duplicates, recipe.source)
    images = without(images, duplicates)
    left = {split: {classes[label] for label in part.labels} for split, part in images.items()}
    check_classes(left, classes, f"{recipe.source} without its near-duplicates")
    return Job(
        recipe=recipe,
        classes=classes,
        images=images,
        made=made,
        starts=starts,
        trainings=tuple(_trainings(recipe, len(images["train"]), 0 if made is None else len(made))),
        data=data,
        dropped=tuple(vars(one) for one in duplicates),
    )


def _classes(recipe: ClassifyRecipe, source: SourceManifest) -> tuple[str, ...]:
    if unknown := [name for name in recipe.exclude if name not in source.header.classes]:
        raise DidgenError(
            f"{recipe.source} has no class {unknown[0]} to exclude; it has "
            f"{', '.join(source.header.classes)}."
        )
    classes = tuple(name for name in source.header.classes if name not in recipe.exclude)
    if len(classes) < 2:
        raise DidgenError(f"`exclude` leaves {len(classes)} classes; a benchmark needs two.")
    if recipe.positive not in classes:
        raise DidgenError(
            f"`positive` is {recipe.positive}, which is none of {', '.join(classes)}; name one."
        )
    return classes


def _start(network: Network, classes: int) -> Start:
    weights = find_weights(network)
    built = build_classifier(network, classes, weights.file)
    parameters = sum(part.numel() for part in built.parameters())
    return Start(weights, sha256_of(weights.file) if weights.file else None, parameters)


def _trainings(recipe: ClassifyRecipe, real: int, made: int) -> Iterator[Training]:
    """Every training, seed by seed, so that a stopped benchmark has all arms of the first seeds."""
    for seed in recipe.seeds:
        for network in recipe.networks:
            epochs = network.epochs or recipe.epochs
            for arm in recipe.arms:
                shown = real if arm == "original-epochs" else real + made
                yield Training(network, arm, seed, epochs * math.ceil(shown / recipe.batch_size))
