"""The generation job: a recipe made ready to be carried out."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from didgen.augment.diffusion.attention import layers_at
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.schedulers import check_timestep, scheduler_of
from didgen.augment.generation.generator import Generator, GuidedDiffusion
from didgen.augment.generation.layouts import Layouts
from didgen.augment.generation.plan import Planned, plan_images, plan_pairs, real_counts, shards_of
from didgen.augment.prompts.prompt import P_TOKENS
from didgen.augment.prompts.prompt_source import Prompts, captions_of, read_captions
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.provenance.models import (
    CAPTIONS_NAME,
    beside,
    model_hashes,
    pinned,
    trained_on,
)
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.augment import AugmentRecipe, asked
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.runs.claim import claim_of
from didgen.manifests.sources.records import CLASSES, SourceManifest
from didgen.manifests.views.attention_maps import WATCHED


@dataclass(frozen=True)
class GenerationJob:
    """A recipe made ready: its generator, its classes, its layouts and its plan."""

    recipe: AugmentRecipe
    generator: Generator
    classes: tuple[str, ...]
    layouts: Layouts
    plan: dict[Config, list[list[Planned]]]
    fingerprint: str
    """Of the recipe, the plan, the model's files and the layouts: of what decides the result."""
    trained_on: TrainedOn

    def count(self, config: Config) -> int:
        """Samples planned for a config."""
        return sum(len(shard) for shard in self.plan[config])

    def watched(self, batch: Iterable[Planned]) -> int:
        """How many of a batch have their attention maps kept: of pairs, those first in the plan."""
        pairs = (planned.key for shard in self.plan.get("pairs", []) for planned in shard)
        first = {*islice(pairs, WATCHED)}
        return sum(planned.key in first for planned in batch)

    @property
    def shards(self) -> dict[Config, int]:
        """The number of shards of each config."""
        return {config: len(shards) for config, shards in self.plan.items()}


def prepare_generation(recipe: AugmentRecipe) -> GenerationJob:
    """Load what a recipe names and fix its plan; nothing is written.

    Raises DidgenError for a model or source that is not there or does not fit the recipe.
    """
    manifest = SourceManifest.read(recipe.source) if recipe.source else None
    pipeline = load_pipeline(recipe.model, recipe.revision)
    recipe = pinned(recipe)
    missing = [t for t in P_TOKENS if t not in pipeline.tokenizer.get_vocab()]
    if missing:
        raise DidgenError(
            f"The model {recipe.model} does not know {' and '.join(missing)}; "
            "run `didgen finetune` on it first."
        )
    _check_sampling(recipe, pipeline)
    if recipe.captions is not None:
        captions = read_captions(recipe.captions)
    elif manifest is not None:
        captions = captions_of((r.label, r.caption) for r in manifest.select(split="train"))
    else:
        captions = _model_captions(recipe)
    if manifest is not None:
        classes = manifest.header.classes
        real = real_counts(manifest)
    else:
        known = [label for label in CLASSES if label in captions]
        classes = tuple(known + sorted(set(captions) - set(known) - {""}))
        real = {label: len(captions[label]) for label in classes}
    prompts = Prompts(captions, lambda text: len(pipeline.tokenizer(text).input_ids))
    layouts = Layouts(pipeline.image_size, manifest)
    plan: dict[Config, list[list[Planned]]] = {}
    if recipe.images is not None:
        plan["images"] = shards_of(plan_images(recipe, real, prompts), recipe.shard_size)
    if recipe.pairs is not None:
        plan["pairs"] = shards_of(plan_pairs(recipe, classes, layouts, prompts), recipe.shard_size)
    plan = {config: shards for config, shards in plan.items() if shards}
    if not plan:
        raise DidgenError("The recipe asks for no sample at all; raise a count in it.")
    planned = [p for shards in plan.values() for shard in shards for p in shard]
    used = {layouts.records[p.layout] for p in planned if p.layout in layouts.records}
    decided_by = {
        "recipe": asked(recipe),
        "plan": [p.row() for p in planned],
        "model": model_hashes(recipe.model, recipe.revision),
        "masks": {r.key: sha256_of(manifest.mask_path(r)) for r in used} if manifest else {},
    }
    seen = trained_on(recipe.model, recipe.revision)
    generator = GuidedDiffusion(pipeline, recipe.sampling)
    return GenerationJob(recipe, generator, classes, layouts, plan, fingerprint(decided_by), seen)


def _model_captions(recipe: AugmentRecipe) -> dict[str, list[str]]:
    """The captions that the recipe's model was finetuned with."""
    path = beside(recipe.model, recipe.revision, CAPTIONS_NAME)
    if not path.exists():
        raise DidgenError(
            f"The model {recipe.model} has no {CAPTIONS_NAME}; give the recipe a `source` with "
            "captions."
        )
    return read_captions(path)


def _check_sampling(recipe: AugmentRecipe, pipeline: LesionPairPipeline) -> None:
    """Raise DidgenError for a sampling that the model cannot do, before there is a folder of it."""
    sampling = recipe.sampling
    scheduler = scheduler_of(pipeline, sampling.scheduler)
    check_timestep(scheduler, sampling.annotation)
    trained = scheduler.config.num_train_timesteps
    if sampling.steps > trained:
        raise DidgenError(
            f"`sampling.steps` is {sampling.steps}, but the model {recipe.model} knows {trained} "
            "timesteps; lower it."
        )
    for kind in ("attn2", "attn1") if recipe.pairs else ():
        layers_at(pipeline.unet, kind, sampling.maps, pipeline.unet.config.sample_size)


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
