"""The classification job: a recipe of `classify` made ready, with its data checked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from didgen.downstream.benchmark.job import (
    BenchmarkJob,
    RunSamples,
    Start,
    TakenRun,
    check_scopes,
    run_folders,
    screened,
    shared_records,
    start_of,
    taken_from,
    unit_of,
)
from didgen.downstream.benchmark.recipe import ClassifyRecipe, Scale, with_chosen
from didgen.downstream.benchmark.scope import check_chosen, outside_records
from didgen.downstream.data.images import Images, counts, load_real, load_synthetic
from didgen.downstream.data.leaks import (
    check_classes,
    check_records,
    perceptual_hashes,
    with_outside,
)
from didgen.downstream.networks.classifiers import build_classifier, find_weights
from didgen.downstream.networks.normalise import trial
from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.sources.records import SPLITS, SourceManifest, SourceRecord
from didgen.manifests.sources.subset import subset


@dataclass(frozen=True)
class ClassificationJob(BenchmarkJob[Images]):
    """A classification benchmark made ready."""

    recipe: ClassifyRecipe
    classes: tuple[str, ...]

    def places(self, real: Scale, seed: int) -> Sequence[int]:
        """So many images of each class, or all where it has fewer, in their order."""
        train = self.images["train"]
        if real is None:
            return range(len(train))
        kept: set[str] = set()
        for label in range(len(self.classes)):
            keys = [train.keys[place] for place in np.flatnonzero(train.labels == label)]
            kept |= subset(keys, real, (self.recipe.seed, seed))
        return [place for place, key in enumerate(train.keys) if key in kept]

    def sizes(self) -> Iterator[str]:
        for name, part in self.parts.items():
            by_class = ", ".join(f"{n} {label}" for label, n in counts(part, self.classes).items())
            yield f"{name}: {len(part)} images ({by_class})"

    def scale_name(self, real: Scale) -> str:
        every = f"all {len(self.images['train'])} real images"
        return f"{real} real images a class" if real else every


def prepare_classification(
    recipe: ClassifyRecipe, progress: Progress | None = None
) -> ClassificationJob:
    """Read and check all that a classification benchmark needs, before anything is trained.

    Raises DidgenError for a class or label set that does not fit, lesions or near-duplicates in
    two splits, a run that is not whole or no run of this source, weights that are not at hand.
    """
    recipe = with_chosen(recipe)
    source = SourceManifest.read(recipe.source)
    classes = _classes(recipe, source)
    starts = _starts(recipe, classes)
    records = {split: _labelled(source, classes, split) for split in SPLITS}
    check_records(records, classes, recipe.source)
    size = recipe.image_size
    images = {split: load_real(source, records[split], classes, size, progress) for split in SPLITS}
    hashes = {split: perceptual_hashes(images[split], progress) for split in SPLITS}
    taken, shared = {}, {}
    for folder, name in run_folders(recipe).items():
        run = taken_from(folder, recipe, source, "images", progress)
        run.samples[:] = [one for one in run.samples if one.label in classes]
        if not run.samples:
            raise DidgenError(f"{folder} has no image of {', '.join(classes)}; make some first.")
        taken[folder] = run
        shared[folder] = shared_records(recipe, name, records["train"], run.origin)
    loaded = {
        folder: load_synthetic(folder, run.samples, classes, run.classes, size, progress)
        for folder, run in taken.items()
    }
    images, loaded, duplicates = screened(recipe, images, hashes, loaded, progress)
    left = {split: {classes[label] for label in part.labels} for split, part in images.items()}
    check_classes(left, classes, f"{recipe.source} without its near-duplicates")
    learned = [images["train"], images["val"], *loaded.values()]
    job = ClassificationJob(
        recipe=recipe,
        images=images,
        records={record.key: record for record in records["train"]},
        runs={
            folder: _samples(taken[folder], part, shared[folder], images["train"])
            for folder, part in loaded.items()
        },
        outside=_outside(recipe, classes, learned, records["test"], taken, progress),
        starts=starts,
        unit=unit_of(recipe, source),
        data={
            "real": fingerprint(
                {split: [[r.sha256, r.label] for r in records[split]] for split in SPLITS}
            )
        },
        dropped=tuple(vars(one) for one in duplicates),
        classes=classes,
    )
    check_scopes(job)
    check_chosen(recipe, job.data, [run.sha256 for run in job.runs.values()])
    return job


def _starts(recipe: ClassifyRecipe, classes: Sequence[str]) -> dict[str, Start]:
    """What each network starts from, when it is known that it can be built and takes the images."""
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
    return starts


def _labelled(
    source: SourceManifest, classes: Sequence[str], split: Split | None = None
) -> list[SourceRecord]:
    return [r for r in source.select(split=split, labelled=True) if r.label in classes]


def _samples(
    run: TakenRun, images: Images, shared: Sequence[SourceRecord], train: Images
) -> RunSamples[Images]:
    """A run as the job has it; what the generator saw are training images that are left."""
    seen = {record.key for record in shared}
    places = [place for place, key in enumerate(train.keys) if key in seen]
    return RunSamples(
        images, {}, run.sha256, run.classes, run.origin, train.take(places) if places else None
    )


def _outside(
    recipe: ClassifyRecipe,
    classes: Sequence[str],
    learned: Iterable[Images],
    tested: Sequence[SourceRecord],
    taken: Mapping[Path, TakenRun],
    progress: Progress | None,
) -> Images | None:
    """The images of another source, of the classes that both have."""
    outside = recipe.elsewhere
    if outside is None:
        return None
    there = outside_records(outside, tested, {name: run.origin for name, run in taken.items()})
    records = [record for record in there if record.label in classes]
    if len({record.label for record in records}) < 2:
        raise DidgenError(
            f"{outside} has images of fewer than two of the classes {', '.join(classes)}; test on "
            "another source."
        )
    source = SourceManifest.read(outside.source)
    loaded = load_real(source, records, classes, recipe.image_size, progress)
    return with_outside(learned, loaded, outside.source)


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
