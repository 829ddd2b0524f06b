"""The segmentation job: a recipe of `segment` made ready, with its data checked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from didgen.downstream.benchmark.job import (
    BenchmarkJob,
    Hashes,
    Training,
    batches,
    nearly_later,
    screened,
    start_of,
    synthetic_of,
)
from didgen.downstream.benchmark.recipe import FILTERED, SegmentRecipe
from didgen.downstream.data.leaks import NearDuplicate, check_lesions, refuse
from didgen.downstream.data.pairs import Pairs, load_real_pairs, load_synthetic_pairs, subset
from didgen.downstream.data.perceptual_hash import perceptual_hashes
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.normalise import trial
from didgen.downstream.networks.segmenters import build_segmenter, find_segmenter_weights
from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.progress import Progress
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.runs.training_samples import SyntheticSample
from didgen.manifests.sources.records import SPLITS, SourceManifest, SourceRecord


@dataclass(frozen=True)
class SegmentationJob(BenchmarkJob[Pairs]):
    """A segmentation benchmark made ready; `judges` are the trainings of the quality filter."""

    recipe: SegmentRecipe
    judges: tuple[Training, ...]

    def real(self, count: int | None) -> Pairs:
        """The real training pairs of a scale."""
        return subset(self.images["train"], count, self.recipe.seed)

    def evaluate_every(self, count: int | None) -> int:
        """Steps between evaluations at a scale: the recipe's, or those that its real pairs take."""
        return self.recipe.evaluate_every or batches(self.recipe, len(self.real(count)))


def prepare_segmentation(
    recipe: SegmentRecipe, progress: Progress | None = None
) -> SegmentationJob:
    """Read and check all that a segmentation benchmark needs, before anything is trained.

    Raises DidgenError as `prepare_classification` does, and for pairs guided by masks that are not
    of the training split, a split without masks and more real pairs than there are.
    """
    source = SourceManifest.read(recipe.source)
    starts = {}
    for network in recipe.networks:
        weights = find_segmenter_weights(network)
        built = build_segmenter(network, weights.file)
        trial(built, network.called, recipe.image_size)
        starts[network.called] = start_of(weights, built)
    # Of all images: a pair may be guided by the mask of one that is in no collection asked for.
    check_lesions({split: source.select(split=split) for split in SPLITS}, recipe.source)
    records = _masked(recipe, source)
    size = recipe.image_size
    images = {split: load_real_pairs(source, records[split], size, progress) for split in SPLITS}
    hashes = {split: perceptual_hashes(images[split], progress) for split in SPLITS}
    data = {"real": fingerprint({split: part.sha256() for split, part in images.items()})}
    synthetic = None
    leaking: list[NearDuplicate] = []
    if recipe.run is not None:
        _, taken, data["run"] = synthetic_of(recipe, source, "pairs", progress)
        leaking = _leaking_guides(recipe, source, images, hashes, taken, progress)
        gone = {one.key for one in leaking}
        taken = [one for one in taken if one.guide not in gone]
        synthetic = load_synthetic_pairs(recipe.run, taken, source, size, progress)
    images, synthetic, duplicates = screened(recipe, images, hashes, synthetic, progress)
    if empty := [split for split, part in images.items() if not len(part)]:
        raise DidgenError(
            f"{recipe.source} without its near-duplicates has no masks in {empty[0]}; import it "
            "with lesion ids, or another `--seed`."
        )
    known = {one.key for one in duplicates}
    duplicates += [one for one in leaking if one.key not in known]
    plan = list(
        _segment_trainings(recipe, images["train"], 0 if synthetic is None else len(synthetic))
    )
    return SegmentationJob(
        recipe=recipe,
        images=images,
        synthetic=synthetic,
        starts=starts,
        trainings=tuple(one for one in plan if one.arm in recipe.arms),
        judges=tuple(one for one in plan if one.arm not in recipe.arms),
        data=data,
        dropped=tuple(vars(one) for one in duplicates),
    )


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


def _leaking_guides(
    recipe: SegmentRecipe,
    source: SourceManifest,
    images: Mapping[Split, Pairs],
    hashes: Hashes,
    taken: Sequence[SyntheticSample],
    progress: Progress | None,
) -> list[NearDuplicate]:
    """The images whose masks guided pairs and that are nearly validation or test images.

    Their masks are those of the later images, so that pairs guided by them would leak. They may be
    of collections that are not asked for.
    """
    named = {one.guide for one in taken}
    records = [record for record in source.select(split="train") if record.key in named]
    guides = load_real_pairs(source, records, recipe.image_size, progress)
    found = nearly_later(guides, images, hashes, progress)
    if recipe.near_duplicates == "refuse":
        refuse(found, recipe.source)
    return found


def _segment_trainings(recipe: SegmentRecipe, train: Pairs, synthetic: int) -> Iterator[Training]:
    """The judges of every scale, if any, and then every training, seed by seed."""

    def planned(network: Network, arm: str, seed: int, count: int | None) -> Training:
        real = len(subset(train, count, recipe.seed))
        epoch = batches(recipe, real + synthetic)
        steps = (network.epochs or recipe.epochs) * epoch
        steps = min(steps, recipe.max_steps or steps)
        if arm == "original-epochs":
            steps = math.ceil(steps * batches(recipe, real) / epoch)
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
