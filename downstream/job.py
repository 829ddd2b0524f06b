"""Jobs: a recipe of a benchmark made ready, with its data checked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from downstream.classifiers import build_classifier, find_weights
from downstream.data import Images, Pictures, Progress, load_real, load_synthetic
from downstream.leaks import (
    NearDuplicate,
    check_classes,
    check_lesions,
    check_records,
    near_duplicates,
    perceptual_hashes,
    refuse,
    without,
)
from downstream.pairs import Pairs, load_real_pairs, load_synthetic_pairs, subset
from downstream.pixels import trial
from downstream.recipe import FILTERED, BenchmarkRecipe, ClassifyRecipe, Network, SegmentRecipe
from downstream.segmenters import build_segmenter, find_segmenter_weights
from downstream.weights import Weights
from manifests.errors import DidgenError
from manifests.files import sha256_of
from manifests.recipe import fingerprint
from manifests.records import SPLITS, SourceManifest, SourceRecord, Split
from manifests.runs import Manifest, read_whole_run
from manifests.shards import Config
from manifests.synthetic import Synthetic, check_run, synthetic

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
class Job:
    """A recipe made ready: the images, the weights to start from, and every training."""

    recipe: BenchmarkRecipe
    images: Mapping[Split, Pictures]
    made: Pictures | None
    starts: Mapping[str, Start]
    trainings: tuple[Training, ...]
    data: Mapping[str, Any]
    """What the images are, as the results record it."""
    dropped: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class ClassificationJob(Job):
    """A classification benchmark made ready."""

    recipe: ClassifyRecipe
    images: Mapping[Split, Images]
    made: Images | None
    classes: tuple[str, ...]

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations: those that the real images take."""
        return math.ceil(len(self.images["train"]) / self.recipe.batch_size)


@dataclass(frozen=True)
class SegmentationJob(Job):
    """A segmentation benchmark made ready; `judges` are the trainings of the quality filter."""

    recipe: SegmentRecipe
    images: Mapping[Split, Pairs]
    made: Pairs | None
    judges: tuple[Training, ...]

    def real(self, count: int | None) -> Pairs:
        """The real training pairs of a scale."""
        return subset(self.images["train"], count, self.recipe.seed)

    def evaluate_every(self, count: int | None) -> int:
        """Steps between evaluations at a scale: the recipe's, or those that its real pairs take."""
        return self.recipe.evaluate_every or _batches(self.recipe, len(self.real(count)))


def prepare(recipe: ClassifyRecipe, progress: Progress | None = None) -> ClassificationJob:
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
        starts[network.called] = _start(weights, built)
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
    made = None
    if recipe.run is not None:
        run, every, data["run"] = _synthetic(recipe, source, "images", progress)
        taken = [one for one in every if one.label in classes]
        if not taken:
            raise DidgenError(
                f"{recipe.run} has no image of {', '.join(classes)}; make some first."
            )
        made = load_synthetic(recipe.run, taken, classes, run.classes, size, progress)
    images, made, duplicates = _screened(recipe, images, hashes, made, progress)
    left = {split: {classes[label] for label in part.labels} for split, part in images.items()}
    check_classes(left, classes, f"{recipe.source} without its near-duplicates")
    return ClassificationJob(
        recipe=recipe,
        classes=classes,
        images=images,
        made=made,
        starts=starts,
        trainings=tuple(_trainings(recipe, len(images["train"]), 0 if made is None else len(made))),
        data=data,
        dropped=tuple(vars(one) for one in duplicates),
    )


def prepare_segmentation(
    recipe: SegmentRecipe, progress: Progress | None = None
) -> SegmentationJob:
    """Read and check all that a segmentation benchmark needs, before anything is trained.

    Raises DidgenError as `prepare` does, and for pairs guided by masks that are not of the
    training split, a split without masks and more real pairs than there are.
    """
    source = SourceManifest.read(recipe.source)
    starts = {}
    for network in recipe.networks:
        weights = find_segmenter_weights(network)
        built = build_segmenter(network, weights.file)
        trial(built, network.called, recipe.image_size)
        starts[network.called] = _start(weights, built)
    # Of all images: a pair may be guided by the mask of one that is in no collection asked for.
    check_lesions({split: source.select(split=split) for split in SPLITS}, recipe.source)
    records = _masked(recipe, source)
    size = recipe.image_size
    images = {split: load_real_pairs(source, records[split], size, progress) for split in SPLITS}
    hashes = {split: perceptual_hashes(images[split], progress) for split in SPLITS}
    data = {"real": fingerprint({split: part.sha256() for split, part in images.items()})}
    made = None
    leaking: list[NearDuplicate] = []
    if recipe.run is not None:
        _, taken, data["run"] = _synthetic(recipe, source, "pairs", progress)
        leaking = _leaking_guides(recipe, source, images, hashes, taken, progress)
        gone = {one.key for one in leaking}
        taken = [one for one in taken if one.guide not in gone]
        made = load_synthetic_pairs(recipe.run, taken, source, size, progress)
    images, made, duplicates = _screened(recipe, images, hashes, made, progress)
    if empty := [split for split, part in images.items() if not len(part)]:
        raise DidgenError(
            f"{recipe.source} without its near-duplicates has no masks in {empty[0]}; import it "
            "with lesion ids, or another `--seed`."
        )
    known = {one.key for one in duplicates}
    duplicates += [one for one in leaking if one.key not in known]
    plan = list(_segment_trainings(recipe, images["train"], 0 if made is None else len(made)))
    return SegmentationJob(
        recipe=recipe,
        images=images,
        made=made,
        starts=starts,
        trainings=tuple(one for one in plan if one.arm in recipe.arms),
        judges=tuple(one for one in plan if one.arm not in recipe.arms),
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


def _masked(recipe: SegmentRecipe, source: SourceManifest) -> dict[Split, list[SourceRecord]]:
    """The records with a mask of the collections that are asked for, by split."""
    there = {record.source for record in source.select(masked=True)}
    if unknown := [name for name in recipe.collections or () if name not in there]:
        raise DidgenError(
            f"{recipe.source} has no images with masks of the collection {unknown[0]}; it has "
            f"{', '.join(sorted(there)) or 'none at all'}."
        )
    wanted = recipe.collections or there
    records = {
        split: [r for r in source.select(split=split, masked=True) if r.source in wanted]
        for split in SPLITS
    }
    if empty := [split for split in SPLITS if not records[split]]:
        raise DidgenError(
            f"{recipe.source} has no image with a mask in {empty[0]}; import it again with other "
            "shares, or take other `collections`."
        )
    return records


def _synthetic(
    recipe: BenchmarkRecipe, source: SourceManifest, config: Config, progress: Progress | None
) -> tuple[Manifest, list[Synthetic], str]:
    """A whole run that goes with the source: its manifest, its samples, what its shards are."""
    assert recipe.run is not None
    run, sidecars = read_whole_run(recipe.run, progress)
    check_run(recipe.run, run, recipe.source, source, config)
    taken = list(
        synthetic(
            recipe.run,
            run,
            config,
            sidecars[config],
            recipe.source,
            source,
            drop_copies=recipe.drop_copies,
        )
    )
    kept = [one.key for one in taken] if recipe.drop_copies else []
    return run, taken, fingerprint([*(sidecar.sha256 for sidecar in sidecars[config]), *kept])


def _leaking_guides(
    recipe: SegmentRecipe,
    source: SourceManifest,
    images: Mapping[Split, Pairs],
    hashes: Hashes,
    taken: Sequence[Synthetic],
    progress: Progress | None,
) -> list[NearDuplicate]:
    """The images whose masks guided pairs and that are nearly validation or test images.

    Their masks are those of the later images, so that pairs guided by them would leak. They may be
    of collections that are not asked for.
    """
    named = {one.guide for one in taken}
    records = [record for record in source.select(split="train") if record.key in named]
    guides = load_real_pairs(source, records, recipe.image_size, progress)
    found = _nearly_later(guides, images, hashes, progress)
    if recipe.near_duplicates == "refuse":
        refuse(found, recipe.source)
    return found


def _nearly_later(
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


def _screened(
    recipe: BenchmarkRecipe,
    images: dict[Split, P],
    hashes: Hashes,
    made: P | None,
    progress: Progress | None,
) -> tuple[dict[Split, P], P | None, list[NearDuplicate]]:
    """Images without those that are nearly some of a later split, which may be refused."""
    duplicates = near_duplicates(images, hashes)
    if made is not None:
        copies = _nearly_later(made, images, hashes, progress)
        duplicates += copies
        made = without({"train": made}, copies)["train"]
        if not len(made):
            raise DidgenError(
                f"{recipe.run} has no sample left without copies and near-duplicates; make more."
            )
    if recipe.near_duplicates == "refuse":
        refuse(duplicates, recipe.source)
    return without(images, duplicates), made, duplicates


def _start(weights: Weights, built: nn.Module) -> Start:
    parameters = sum(part.numel() for part in built.parameters())
    return Start(weights, sha256_of(weights.file) if weights.file else None, parameters)


def _batches(recipe: BenchmarkRecipe, images: int) -> int:
    return math.ceil(images / recipe.batch_size)


def _trainings(recipe: ClassifyRecipe, real: int, made: int) -> Iterator[Training]:
    """Every training, seed by seed, so that a stopped benchmark has all arms of the first seeds."""
    for seed in recipe.seeds:
        for network in recipe.networks:
            epochs = network.epochs or recipe.epochs
            for arm in recipe.arms:
                shown = real if arm == "original-epochs" else real + made
                yield Training(network, arm, seed, epochs * _batches(recipe, shown))


def _segment_trainings(recipe: SegmentRecipe, train: Pairs, made: int) -> Iterator[Training]:
    """The judges of every scale, if any, and then every training, seed by seed."""

    def planned(network: Network, arm: str, seed: int, count: int | None) -> Training:
        real = len(subset(train, count, recipe.seed))
        epoch = _batches(recipe, real + made)
        steps = (network.epochs or recipe.epochs) * epoch
        steps = min(steps, recipe.max_steps or steps)
        if arm == "original-epochs":
            steps = math.ceil(steps * _batches(recipe, real) / epoch)
        return Training(network, arm, seed, steps, count)

    if FILTERED in recipe.arms:
        for count in recipe.real:
            for fold in range(recipe.filter.folds):
                yield planned(recipe.networks[0], f"judge-{fold}", recipe.seed, count)
    for seed in recipe.seeds:
        for network in recipe.networks:
            for count in recipe.real:
                for arm in recipe.arms:
                    yield planned(network, arm, seed, count)
