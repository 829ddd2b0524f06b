"""The classification job: a recipe of `classify` made ready, with its data checked."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from didgen.downstream.benchmark.job import (
    BenchmarkJob,
    Training,
    batches,
    screened,
    start_of,
    synthetic_of,
)
from didgen.downstream.benchmark.recipe import ClassifyRecipe
from didgen.downstream.data.images import Images, load_real, load_synthetic
from didgen.downstream.data.leaks import check_classes, check_records
from didgen.downstream.data.perceptual_hash import perceptual_hashes
from didgen.downstream.networks.classifiers import build_classifier, find_weights
from didgen.downstream.networks.normalise import trial
from didgen.manifests.errors import DidgenError
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.sources.records import SPLITS, SourceManifest


@dataclass(frozen=True)
class ClassificationJob(BenchmarkJob[Images]):
    """A classification benchmark made ready."""

    recipe: ClassifyRecipe
    classes: tuple[str, ...]

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations: those that the real images take."""
        return math.ceil(len(self.images["train"]) / self.recipe.batch_size)


def prepare_classification(
    recipe: ClassifyRecipe, progress: Progress | None = None
) -> ClassificationJob:
    """Read and check all that a classification benchmark needs, before anything is trained.

    Raises DidgenError for a class or label set that does not fit, lesions or near-duplicates in
    two splits, a run that is not whole or no run of this source, weights that are not at hand.
    """
    source = SourceManifest.read(recipe.source)
    classes = _classes(recipe, source)
    starts = {}
    for network in recipe.networks:
        weights = find_weights(network)
        built = build_classifier(network, len(classes), weights.file)
        given = trial(built, network.called, recipe.image_size)
        if getattr(given, "shape", None) != (1, len(classes)):
            raise DidgenError(
                f"{network.called} does not give one number for each class with the arguments "
                f"{network.arguments}; correct them."
            )
        starts[network.called] = start_of(weights, built)
    records = {
        split: [r for r in source.select(split=split, labelled=True) if r.label in classes]
        for split in SPLITS
    }
    check_records(records, classes, recipe.source)
    size = recipe.image_size
    images = {split: load_real(source, records[split], classes, size, progress) for split in SPLITS}
    hashes = {split: perceptual_hashes(images[split], progress) for split in SPLITS}
    data: dict[str, Any] = {
        "real": fingerprint(
            {split: [[r.sha256, r.label] for r in records[split]] for split in SPLITS}
        )
    }
    synthetic = None
    if recipe.run is not None:
        run, every, data["run"] = synthetic_of(recipe, source, "images", progress)
        taken = [one for one in every if one.label in classes]
        if not taken:
            raise DidgenError(
                f"{recipe.run} has no image of {', '.join(classes)}; make some first."
            )
        synthetic = load_synthetic(recipe.run, taken, classes, run.classes, size, progress)
    images, synthetic, duplicates = screened(recipe, images, hashes, synthetic, progress)
    left = {split: {classes[label] for label in part.labels} for split, part in images.items()}
    check_classes(left, classes, f"{recipe.source} without its near-duplicates")
    return ClassificationJob(
        recipe=recipe,
        classes=classes,
        images=images,
        synthetic=synthetic,
        starts=starts,
        trainings=tuple(
            _trainings(recipe, len(images["train"]), 0 if synthetic is None else len(synthetic))
        ),
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


def _trainings(recipe: ClassifyRecipe, real: int, synthetic: int) -> Iterator[Training]:
    """Every training, seed by seed, so that a stopped benchmark has all arms of the first seeds."""
    for seed in recipe.seeds:
        for network in recipe.networks:
            epochs = network.epochs or recipe.epochs
            for arm in recipe.arms:
                shown = real if arm == "original-epochs" else real + synthetic
                yield Training(network, arm, seed, epochs * batches(recipe, shown))
