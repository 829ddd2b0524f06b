"""The segmentation job: a recipe of `segment` made ready, with its data checked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from didgen.downstream.benchmark.job import (
    JUDGE,
    BenchmarkJob,
    Hashes,
    RunSamples,
    Start,
    TakenRun,
    Training,
    check_scopes,
    nearly_later,
    run_folders,
    screened,
    shared_records,
    start_of,
    taken_from,
    unit_of,
)
from didgen.downstream.benchmark.recipe import Scale, SegmentRecipe, with_chosen
from didgen.downstream.benchmark.scope import check_chosen, outside_records
from didgen.downstream.data.leaks import (
    NearDuplicate,
    check_lesions,
    perceptual_hashes,
    refuse,
    with_outside,
    without,
)
from didgen.downstream.data.pairs import (
    Pairs,
    load_real_pairs,
    load_synthetic_pairs,
    subset_places,
)
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
    """A segmentation benchmark made ready."""

    recipe: SegmentRecipe
    no_truths: str | None = None
    """How many held-out masks are left out, because no person drew them; in words."""

    def places(self, real: Scale, seed: int) -> Sequence[int]:
        """So many real pairs, in their order."""
        return subset_places(self.images["train"], real, (self.recipe.seed, seed))

    def sizes(self) -> Iterator[str]:
        yield ", ".join(f"{name}: {len(part)} pairs" for name, part in self.parts.items())
        if self.no_truths:
            yield f"{self.no_truths}."

    def scale_name(self, real: Scale) -> str:
        return f"{real} real pairs" if real else f"all {len(self.images['train'])} real pairs"

    def judges_of(self, trainings: Iterable[Training]) -> tuple[Training, ...]:
        """The networks of the quality filter: of each run, scale and seed, a fold left out each.

        Each seed has networks of its own, so that their luck is among what seeds differ in.
        """
        recipe, network = self.recipe, self.recipe.networks[0]
        arms = ((recipe.arm(training.arm), training) for training in trainings)
        groups = dict.fromkeys((arm.run, t.real, t.seed) for arm, t in arms if arm.filter)
        return tuple(
            Training(network, f"{JUDGE}{run}-{fold}", seed, self.steps(network, real, seed), real)
            for run, real, seed in groups
            for fold in range(recipe.filter.folds)
        )

    def judged_run(self, judge: Training) -> RunSamples[Pairs]:
        """The run whose pairs a network of the filter judges."""
        return self.runs[self.recipe.run_folder(judged(judge), judge.real, judge.seed)]


def judged(judge: Training) -> str:
    """The name of the run whose pairs a network of the filter judges."""
    return judge.arm.removeprefix(JUDGE).rpartition("-")[0]


def prepare_segmentation(
    recipe: SegmentRecipe, progress: Progress | None = None
) -> SegmentationJob:
    """Read and check all that a segmentation benchmark needs, before anything is trained.

    Raises DidgenError as `prepare_classification` does, and for pairs guided by masks that are not
    of the training split, a split without masks and more real pairs than there are.
    """
    recipe = with_chosen(recipe)
    source = SourceManifest.read(recipe.source)
    starts = _starts(recipe)
    # Of all images: a pair may be guided by the mask of one that is in no collection asked for.
    check_lesions({split: source.select(split=split) for split in SPLITS}, recipe.source)
    records = _masked(recipe, source)
    size = recipe.image_size
    images = {split: load_real_pairs(source, records[split], size, progress) for split in SPLITS}
    hashes = {split: perceptual_hashes(images[split], progress) for split in SPLITS}
    data = {"real": fingerprint({split: part.sha256() for split, part in images.items()})}
    taken, shared, loaded = {}, {}, {}
    leaking: list[NearDuplicate] = []
    for folder, name in run_folders(recipe).items():
        taken[folder] = run = taken_from(folder, recipe, source, "pairs", progress)
        found = _leaking_guides(recipe, source, images, hashes, run.samples, progress)
        gone = {one.key for one in found}
        run.samples[:] = [one for one in run.samples if one.guide not in gone]
        loaded[folder] = load_synthetic_pairs(folder, run.samples, source, size, progress)
        leaking += [one for one in found if one not in leaking]
        seen = shared_records(recipe, name, source.select(split="train", masked=True), run.origin)
        shared[folder] = _shared(load_real_pairs(source, seen, size, progress), images, hashes)
    images, loaded, duplicates = screened(recipe, images, hashes, loaded, progress)
    if empty := [split for split, part in images.items() if not len(part)]:
        raise DidgenError(
            f"{recipe.source} without its near-duplicates has no masks in {empty[0]}; import it "
            "with lesion ids, or another `--seed`."
        )
    known = {one.key for one in duplicates}
    duplicates += [one for one in leaking if one.key not in known]
    learned = [images["train"], images["val"], *loaded.values(), *shared.values()]
    job = SegmentationJob(
        recipe=recipe,
        images=images,
        records={record.key: record for record in records["train"]},
        runs={
            folder: _samples(taken[folder], part, shared[folder]) for folder, part in loaded.items()
        },
        outside=_outside(recipe, learned, records["test"], taken, progress),
        starts=starts,
        unit=unit_of(recipe, source),
        data=data,
        dropped=tuple(vars(one) for one in duplicates),
        no_truths=source.no_truths(),
    )
    for real in recipe.real:
        job.places(real, recipe.seeds[0])
    check_scopes(job)
    check_chosen(recipe, job.data, [run.sha256 for run in job.runs.values()])
    return job


def _starts(recipe: SegmentRecipe) -> dict[str, Start]:
    """What each network starts from, when it is known that it can be built and takes the images."""
    starts = {}
    for network in recipe.networks:
        weights = find_segmenter_weights(network)
        built = build_segmenter(network, weights.file)
        trial(built, network.called, recipe.image_size)
        starts[network.called] = start_of(weights, built)
    return starts


def _shared(pairs: Pairs, images: Mapping[Split, Pairs], hashes: Hashes) -> Pairs:
    """What a generator saw, without those that are nearly validation or test images."""
    copies = nearly_later(pairs, images, hashes, None) if len(pairs) else []
    return without({"train": pairs}, copies)["train"]


def _samples(run: TakenRun, pairs: Pairs, shared: Pairs) -> RunSamples[Pairs]:
    """A run as the job has it, with the layouts of its pairs."""
    layouts = {f"synthetic-{one.key}": one.guide for one in run.samples}
    return RunSamples(
        pairs, layouts, run.sha256, run.classes, run.origin, shared if len(shared) else None
    )


def _outside(
    recipe: SegmentRecipe,
    learned: Iterable[Pairs],
    tested: Sequence[SourceRecord],
    taken: Mapping[Path, TakenRun],
    progress: Progress | None,
) -> Pairs | None:
    """The images of another source that have masks."""
    outside = recipe.elsewhere
    if outside is None:
        return None
    there = outside_records(outside, tested, {name: run.origin for name, run in taken.items()})
    records = [record for record in there if record.truth]
    if not records:
        raise DidgenError(
            f"{outside} has no image with a mask that a person drew; test on another source."
        )
    source = SourceManifest.read(outside.source)
    loaded = load_real_pairs(source, records, recipe.image_size, progress)
    return with_outside(learned, loaded, outside.source)


def _masked(recipe: SegmentRecipe, source: SourceManifest) -> dict[Split, list[SourceRecord]]:
    """The pairs of the collections that are asked for, by split."""
    there = {record.source for record in source.select(masked=True)}
    if unknown := [name for name in recipe.collections or () if name not in there]:
        raise DidgenError(
            f"{recipe.source} has no images with masks of the collection {unknown[0]}; it has "
            f"{', '.join(sorted(there)) or 'none at all'}."
        )
    wanted = recipe.collections or there
    records = {split: [r for r in source.pairs(split) if r.source in wanted] for split in SPLITS}
    if empty := [split for split in SPLITS if not records[split]]:
        raise DidgenError(
            f"{recipe.source} has no image with a mask that a person drew in {empty[0]}; import it "
            "again with other shares or with `--masks`, or take other `collections`."
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
