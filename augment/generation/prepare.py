"""The generation job: a recipe made ready to be carried out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, get_args

from didgen.augment.generation.layouts import Layouts, RunMasks
from didgen.augment.generation.plan import (
    Plan,
    PlannedImages,
    PlannedPairs,
    class_counts,
    pair_layouts,
    real_counts,
)
from didgen.augment.methods.generator import Generator, Opened, Planned
from didgen.augment.methods.registry import open_model
from didgen.augment.methods.starts import Starts
from didgen.augment.models.cost import Cost, Network
from didgen.augment.prompts.prompt_source import (
    FREE_FORMAT,
    UNLABELLED,
    Prompts,
    captions_of,
    read_captions,
)
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.models import (
    CAPTIONS_NAME,
    beside,
    model_hashes,
    pinned,
    trained_on,
)
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.augment import AugmentRecipe, RunLayouts, SourceLayouts, asked
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.runs.claim import claim_of
from didgen.manifests.runs.finish import read_trained_on
from didgen.manifests.shards.index import read_manifest
from didgen.manifests.shards.shard import read_sidecars
from didgen.manifests.sources.records import CLASSES, SourceManifest, SourceRecord
from didgen.manifests.views.attention_maps import WATCHED

PLAN_FORMAT = 2
"""Changed with whatever makes another plan or other samples of the same recipe."""


@dataclass(frozen=True)
class GenerationJob:
    """A recipe made ready: its generator, its classes, its layouts and its plan."""

    recipe: AugmentRecipe
    generator: Generator
    classes: tuple[str, ...]
    layouts: Layouts
    images: PlannedImages | None
    pairs: PlannedPairs | None
    fingerprint: str
    """Of the recipe and all that it names: of what decides the result, whatever its size."""
    trained_on: TrainedOn
    decided: Mapping[str, str]
    """What the run records of how its generator draws."""
    network: Network | None = None

    @property
    def plan(self) -> dict[Config, Plan]:
        """The plan of each config that has samples."""
        plans: dict[Config, Plan | None] = {"images": self.images, "pairs": self.pairs}
        return {config: plan for config, plan in plans.items() if plan is not None}

    @property
    def shards(self) -> dict[Config, int]:
        """The number of shards of each config."""
        return {config: len(plan) for config, plan in self.plan.items()}

    @property
    def samples(self) -> dict[Config, int]:
        """The number of samples of each config."""
        return {config: plan.samples for config, plan in self.plan.items()}

    def watched(self, batch: Iterable[Planned]) -> int:
        """How many of a batch have their attention maps kept: of pairs, those first in the plan."""
        if self.pairs is None:
            return 0
        first = {self.pairs.key(place) for place in range(min(WATCHED, self.pairs.samples))}
        return sum(planned.key in first for planned in batch)


def prepare_generation(recipe: AugmentRecipe) -> GenerationJob:
    """Load what a recipe names and fix its plan; nothing is written.

    Raises DidgenError for a model or source that is not there or does not fit the recipe.
    """
    manifest = SourceManifest.read(recipe.source) if recipe.source else None
    opened = open_model(recipe)
    recipe = pinned(recipe)
    captions = _captions(recipe, manifest)
    real = _real_counts(manifest, captions)
    layouts = _layouts(recipe, manifest, opened.image_size)
    prompts = Prompts(captions, opened.count_tokens, form=recipe.prompt)
    starts = _starts(recipe, manifest, opened)
    images, pairs = _plans(recipe, real, layouts, prompts, starts)
    _check_classes(recipe.model, opened.classes, images, pairs)
    seen = _seen(recipe, layouts)
    if starts is not None and seen:
        seen = seen | TrainedOn.of(_varied(starts, images, pairs))
    return GenerationJob(
        recipe,
        opened.generator,
        tuple(real),
        layouts,
        images,
        pairs,
        fingerprint(_decided_by(recipe, prompts, real, layouts, starts)),
        seen,
        opened.decided,
        opened.network,
    )


def _seen(recipe: AugmentRecipe, layouts: Layouts) -> TrainedOn:
    """The real images behind all that a recipe draws with; empty where one of them lists none."""
    seen = [trained_on(recipe.model, recipe.revision)]
    if recipe.sampling.autoguidance is not None:
        seen.append(trained_on(str(recipe.sampling.autoguidance)))
    if layouts.run is not None:
        seen.append(read_trained_on(layouts.run.directory, layouts.run.manifest))
    # What one of them was trained on may be all that is known, and then it is not enough.
    return reduce(or_, seen) if all(seen) else TrainedOn()


def _starts(
    recipe: AugmentRecipe, manifest: SourceManifest | None, opened: Opened
) -> Starts | None:
    """The real images that a recipe varies, if any; DidgenError for a model that cannot."""
    if recipe.variations is None:
        return None
    if not opened.varies:
        raise DidgenError(
            f"The model {recipe.model} draws no `variations` of real images, which take a Stable "
            "Diffusion model; leave them out of the recipe."
        )
    assert manifest is not None
    return Starts(opened.image_size, manifest)


def _varied(
    starts: Starts, images: PlannedImages | None, pairs: PlannedPairs | None
) -> Iterator[SourceRecord]:
    """The real images that the samples of a plan may start from."""
    if images is not None:
        for label, names in images.starts.items():
            yield from (starts.records[name] for name in names[: images.counts[label]])
    if pairs is not None:
        yield from (starts.records[choice.name] for choice in pairs.choices)


def cost_of(job: GenerationJob) -> Cost | None:
    """What the samples of a job take, None where nobody measured its method."""
    if job.network is None:
        return None
    images, pairs = (job.samples.get(config, 0) for config in get_args(Config))
    return job.network.drawing(images, pairs, job.recipe.sampling.steps)


def _captions(recipe: AugmentRecipe, manifest: SourceManifest | None) -> dict[str, list[str]]:
    """The captions by class: those that the recipe names, else the source's, else the model's."""
    if isinstance(recipe.captions, Path):
        return read_captions(recipe.captions)
    if recipe.captions == "model":
        return _model_captions(recipe)
    if manifest is not None:
        return captions_of((r.label, r.caption) for r in manifest.select(split="train"))
    return _model_captions(recipe)


def _real_counts(
    manifest: SourceManifest | None, captions: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """The classes in their order, with their real training images, or captions without a source."""
    if manifest is not None:
        return real_counts(manifest)
    known = [label for label in CLASSES if label in captions]
    classes = known + sorted(set(captions) - set(known) - {UNLABELLED})
    return {label: len(captions[label]) for label in classes}


def _layouts(recipe: AugmentRecipe, manifest: SourceManifest | None, size: int) -> Layouts:
    """The layouts that a recipe's pairs may have."""
    asked_for = None if recipe.pairs is None else recipe.pairs.layouts
    if isinstance(asked_for, RunLayouts):
        other = read_manifest(asked_for.run)
        if "pairs" not in other.configs:
            raise DidgenError(f"{asked_for.run} holds no pairs whose masks could be layouts.")
        return Layouts(
            size, manifest, RunMasks(asked_for.run, other, read_sidecars(asked_for.run, "pairs"))
        )
    if isinstance(asked_for, SourceLayouts):
        return Layouts(size, manifest, keep=asked_for.subset)
    return Layouts(size, manifest)


def _plans(
    recipe: AugmentRecipe,
    real: Mapping[str, int],
    layouts: Layouts,
    prompts: Prompts,
    starts: Starts | None,
) -> tuple[PlannedImages | None, PlannedPairs | None]:
    """The plans of images and of pairs; a recipe that asks for no sample is a `DidgenError`."""
    counts = {} if recipe.images is None else class_counts(recipe, real)
    if prompts.form == "caption":
        prompts.check(counts)
    varied = {} if starts is None else {c: starts.of_class(c, recipe.seed) for c in counts}
    for label, names in varied.items():
        if not names:
            raise DidgenError(
                f"The source has no training image of {label or 'no class'} to vary; leave that "
                "class out of `images`."
            )
    images = PlannedImages(recipe, counts, prompts, varied) if counts else None
    pairs = None
    if recipe.pairs is not None and recipe.pairs.count:
        choices = pair_layouts(recipe, tuple(real), layouts, prompts.captions)
        if prompts.form == "caption":
            prompts.check({choice.label for choice in choices})
        pairs = PlannedPairs(recipe, choices, layouts, prompts)
    if images is None and pairs is None:
        raise DidgenError("The recipe asks for no sample at all; raise a count in it.")
    return images, pairs


def _check_classes(
    model: str,
    known: tuple[str, ...] | None,
    images: PlannedImages | None,
    pairs: PlannedPairs | None,
) -> None:
    """Raise DidgenError for a planned class that a model of few classes was not trained on."""
    if known is None:
        return
    planned = {} if images is None else dict.fromkeys(images.counts)
    planned |= {} if pairs is None else dict.fromkeys(one.label for one in pairs.choices)
    for label in planned:
        if label not in known:
            raise DidgenError(
                f"The model {model} draws no {label or 'image without a class'}: it was trained on "
                f"{', '.join(known) if any(known) else 'images without a class'}; leave that class "
                "out of the recipe, with `exclude` or in `per_class`."
            )


def _decided_by(
    recipe: AugmentRecipe,
    prompts: Prompts,
    real: Mapping[str, int],
    layouts: Layouts,
    starts: Starts | None,
) -> dict[str, Any]:
    """All that decides a run beside the code: the recipe, and what it names, by hash."""
    masks: dict[str, str] = {}
    if layouts.run is not None:
        entries = layouts.run.manifest.configs["pairs"]
        masks = {entry.file: entry.sha256 for entry in entries}
    elif recipe.pairs is not None and recipe.pairs.layouts != "drawn" and layouts.manifest:
        masks = {key: layouts.manifest.mask_digest(r) for key, r in layouts.records.items()}
    free: dict[str, Any] = {"free sentences": FREE_FORMAT} if prompts.decision() else {}
    if recipe.sampling.autoguidance is not None:
        free["autoguidance"] = model_hashes(str(recipe.sampling.autoguidance), None)
    if starts is not None:
        free["starts"] = {name: record.sha256 for name, record in starts.records.items()}
    return free | {
        "plan": PLAN_FORMAT,
        "recipe": asked(recipe),
        "captions": fingerprint(prompts.captions),
        "classes": dict(real),
        "model": model_hashes(recipe.model, recipe.revision),
        "masks": masks,
    }


def _model_captions(recipe: AugmentRecipe) -> dict[str, list[str]]:
    """The captions that the recipe's model was finetuned with."""
    path = beside(recipe.model, recipe.revision, CAPTIONS_NAME)
    if not path.exists():
        raise DidgenError(
            f"The model {recipe.model} has no {CAPTIONS_NAME}; give the recipe a `source` with "
            "captions, or a file of them as `captions`."
        )
    return read_captions(path)


def check_begun(out: Path) -> None:
    """Raise DidgenError for a run of an older didgen, whose plan and noise were others."""
    begun = claim_of(out)
    if begun is not None and begun.plan is not None:
        raise DidgenError(
            f"{out} was begun by an older didgen, which makes other samples of the same recipe; "
            "finish it with that version, or choose another directory (see UPGRADING.md)."
        )


def check_source(job: GenerationJob, out: Path | None) -> None:
    """Raise DidgenError where the source holds out what the model was trained on.

    Not where this run has begun in `out`: it can still be carried out again and mended.
    """
    source, manifest = job.recipe.source, job.layouts.manifest
    begun = claim_of(out) if out is not None else None
    if begun is not None and begun.fingerprint == job.fingerprint:
        return
    if source is not None and manifest is not None:
        job.trained_on.check(f"The model {job.recipe.model}", source, manifest)
