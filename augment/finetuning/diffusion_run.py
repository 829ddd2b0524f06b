"""The diffusion run: a finetuning of a diffusion model under way, of DiDGen's own or of a rival.

Notable choices:
- What is fixed is computed once, into a cache that the training reads instead.
- The run's folder holds everything to go on from; a recipe that differs is refused.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from accelerate import Accelerator
from diffusers import StableDiffusionPipeline
from torch import Tensor

from didgen.augment.conditioning.p_tokens import add_p_tokens
from didgen.augment.conditioning.texts import encoded, text_parts
from didgen.augment.console import decisions
from didgen.augment.device import Device, choose_device
from didgen.augment.diffusion.kinds import is_xl
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.small_model import build_pipeline, shape_of
from didgen.augment.finetuning.dataset import (
    TURNING_FORMAT,
    RegionDataset,
    class_weights,
    free_captions,
)
from didgen.augment.finetuning.latent_cache import Cache, Table
from didgen.augment.finetuning.latents import KEPT, check_posterior, encode_exactly
from didgen.augment.finetuning.loop import Schedule, Stage, train
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.prior import draw_prior
from didgen.augment.finetuning.training_images import read_training_images, words_of
from didgen.augment.finetuning.training_run import accelerator_of, begun
from didgen.augment.prompts.prompt import compose
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, sha256_of, write_json
from didgen.manifests.progress import progress_bar
from didgen.manifests.provenance.models import model_hashes, pinned, trained_on, unlisted
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.small_model import AutoencoderStage
from didgen.manifests.recipes.training import asked
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.order import keep_order
from didgen.manifests.sources.records import SourceManifest, SourceRecord

R = TypeVar("R", bound=FinetuneRecipe)


@dataclass(frozen=True)
class DiffusionRun(Generic[R]):
    """A training under way: its recipe, its images, its model, and the device that it has.

    recipe: with the commit of a model of the hub; before: what that model was trained on already.
    """

    recipe: R
    manifest: SourceManifest
    records: list[SourceRecord]
    device: Device
    accelerator: Accelerator
    pipeline: StableDiffusionPipeline
    before: TrainedOn
    out: Path

    @classmethod
    def prepared(cls, recipe: R, out: Path) -> Self:
        """Read the images of a recipe and load its model; nothing is written yet.

        Raises DidgenError for a source without training masks or captions or one that holds out
        what the model was trained on, and for a model that cannot be loaded.
        """
        manifest, records = read_training_images(recipe)
        device = choose_device(recipe.mixed_precision, training=True)
        accelerator = accelerator_of(device, out)
        pipeline = start_pipeline(recipe, records)
        recipe = recipe.model_copy(update={"revision": pinned(recipe).revision})
        before = trained_on(recipe.model, recipe.revision)
        before.check(f"The model {recipe.model}", recipe.source, manifest)
        return cls(recipe, manifest, records, device, accelerator, pipeline, before, out)

    @property
    def batches(self) -> int:
        """Batches a step, over all processes."""
        return self.accelerator.num_processes * self.recipe.gradient_accumulation

    @property
    def done(self) -> R:
        """The recipe with the number format that its training has."""
        return self.recipe.model_copy(update={"mixed_precision": self.device.precision})

    def begun(self) -> AbstractContextManager[None]:
        """Keep the run's folder to this training while it lasts.

        Raises DidgenError for a folder of another recipe, and one that another process trains in.
        """
        recipe, processes = self.recipe, self.accelerator.num_processes
        decided = {"device": str(self.device), "training images": str(len(self.records))}
        if self.batches > 1:
            decided["batch"] = _batch_in_words(recipe, processes)
        decided |= unlisted(recipe.model, self.before) | free_captions(recipe, self.records)
        return begun(
            self.accelerator,
            self.out,
            decided,
            lambda: claim(recipe, self.manifest, self.records, self.out, processes),
        )

    def train(
        self,
        name: str,
        objective: RegionLoss,
        dataset: RegionDataset,
        schedule: Schedule,
        sheet: Callable[[int], None],
    ) -> None:
        """Train what an objective holds of the model; `sheet(step)` draws at each checkpoint."""
        recipe, accelerator, pipeline = self.recipe, self.accelerator, self.pipeline
        self._fill(dataset)

        def drawn(step: int) -> None:
            with accelerator.autocast():
                pipeline.to(accelerator.device)
                sheet(step)
                leave_to_cache(pipeline, recipe)

        leave_to_cache(pipeline, recipe)
        weights = class_weights(self.records, recipe.class_balance)
        train(accelerator, Stage(name, objective, dataset, weights, schedule), self.out, drawn)

    def _fill(self, dataset: RegionDataset) -> None:
        """Give a dataset what is made once for its run: the cache, and images of the prior."""
        recipe, accelerator, pipeline, out = self.recipe, self.accelerator, self.pipeline, self.out
        if recipe.cache:
            dtype = self.device.dtype
            dataset.cache = fill_cache(accelerator, pipeline, dataset, dtype, recipe, out)
            if accelerator.is_main_process:
                told = {"cache": str(dataset.cache)}
                decisions(told)
                write_json(out / "decisions.json", read_json(out / "decisions.json") | told)
        if recipe.prior is not None:
            dataset.prior = draw_prior(accelerator, pipeline, recipe, recipe.prior, out)


def start_pipeline(recipe: FinetuneRecipe, records: list[SourceRecord]) -> StableDiffusionPipeline:
    """The recipe's model before training, P-Tokens included."""
    built = None
    if recipe.build is not None:
        # A model that was shown no caption can still be told one: the vocabulary is that of both.
        texts = [compose(record.caption) for record in records]
        if recipe.prompt != "caption":
            texts += [compose(words_of(recipe, record)) for record in records]
        built = build_pipeline(recipe.build, texts, recipe.image_size, recipe.seed)
        if recipe.model is None:
            return built
    assert recipe.model is not None
    pipeline = load_pipeline(recipe.model, recipe.revision)
    check_posterior(recipe, pipeline.vae)
    if built is not None:
        _match(recipe.model, shape_of(pipeline), shape_of(built))
    if is_xl(pipeline) and not recipe.cache:
        raise DidgenError(
            f"The model {recipe.model} has two text encoders, whose texts are cached; set "
            "`cache: true` in the recipe."
        )
    for tokenizer, encoder in text_parts(pipeline):
        add_p_tokens(tokenizer, encoder)
    # The size that is sampled is the one trained last.
    pipeline.unet.register_to_config(sample_size=recipe.image_size // 8)
    return pipeline


def _match(model: str, shape: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise DidgenError for a model whose shape is not that of the recipe's `build`."""
    for field in sorted(shape.keys() | asked.keys()):
        if shape.get(field) != asked.get(field):
            raise DidgenError(
                f"The model {model} is not of the shape in `build`: its {field} is "
                f"{shape.get(field)} and not {asked.get(field)}. Give the shape it was built with, "
                "or leave `model` out to start from nothing."
            )


@torch.no_grad()
def fill_cache(
    accelerator: Accelerator,
    pipeline: StableDiffusionPipeline,
    dataset: RegionDataset,
    dtype: torch.dtype,
    recipe: FinetuneRecipe,
    out: Path,
) -> Cache:
    """Fill `out/cache` with all that the frozen models would compute of the dataset.

    The processes share the shards that are missing. Text embeddings are what autocast would give in
    training, as `dtype`; latents are encoded in float32 and kept as fp16.
    """
    fixed_text, sampled = recipe.build is None, recipe.posterior == "sample"
    prompts = dataset.prompts() if fixed_text else []
    images = Table(out / "cache", "images-fp16", len(dataset))
    # Where another version words its prompts in another way, the old rows are those of no prompt.
    texts = Table(out / "cache", f"texts-{fingerprint(prompts)[:12]}", len(prompts))

    def image_row(index: int) -> dict[str, Tensor]:
        latents = encode_exactly(pipeline.vae, dataset.views(index).to(accelerator.device))
        kept = latents if sampled else {"latents": latents["latents"]}
        return {n: value.to(KEPT) for n, value in kept.items()} | {"mask": dataset.mask(index)}

    def text_row(index: int) -> dict[str, Tensor]:
        with accelerator.autocast():
            context = encoded(pipeline, [prompts[index]])[0]
        return {"context": context.to(dtype)}

    encoders = [encoder for _, encoder in text_parts(pipeline)]
    work: list[tuple[Table, list[Any], Callable[[int], dict[str, Tensor]]]]
    work = [(images, [pipeline.vae], image_row)]
    work += [(texts, encoders, text_row)] if fixed_text else []
    rank, world = accelerator.process_index, accelerator.num_processes
    with progress_bar(disable=not accelerator.is_main_process) as progress:
        for table, models, compute in work:
            for model in models:
                model.to(accelerator.device)
            total = sum(map(len, table.shards()[rank::world]))
            task = progress.add_task(
                f"cache of {table.name.partition('-')[0]}", total=total, state=""
            )
            for done in table.fill(compute, rank, world):
                progress.advance(task, done)
    accelerator.wait_for_everyone()
    places = {prompt: place for place, prompt in enumerate(prompts)}
    return Cache(images, texts if fixed_text else None, places, sampled)


def leave_to_cache(pipeline: StableDiffusionPipeline, recipe: FinetuneRecipe) -> None:
    """Move the models that the cache stands for off the device."""
    if recipe.cache:
        if recipe.perceptual is None:
            pipeline.vae.to("cpu")
        if recipe.build is None:
            for _, encoder in text_parts(pipeline):
                encoder.to("cpu")


def _batch_in_words(recipe: FinetuneRecipe, processes: int) -> str:
    """How many images a step sees, and why."""
    each, parts = recipe.batch_size, recipe.gradient_accumulation
    why = f"{processes} processes take {each} each" if processes > 1 else f"batches are of {each}"
    added = f" and {parts} batches are added up" if parts > 1 else ""
    return f"{each * parts * processes} a step, because {why}{added}"


def claim(
    recipe: FinetuneRecipe,
    manifest: SourceManifest,
    records: list[SourceRecord],
    out: Path,
    processes: int,
) -> None:
    """Claim the folder for this recipe over these records and this model, or raise DidgenError.

    The number of processes belongs to it: it decides which samples a step sees.
    """
    free = {"steps"} if schedule_of(recipe).extendable else set()
    fields = asked(recipe, free) | {"processes": processes}
    stage = stage_of(recipe)
    judging = {"autoencoder": stage.perceptual if stage else None, "unet": recipe.perceptual}
    decided_by: dict[str, Any] = {
        "recipe": fields,
        "records": [
            (r.key, r.sha256, manifest.mask_digest(r), r.label, r.caption) for r in records
        ],
        "model": model_hashes(recipe.model, recipe.revision) if recipe.model else {},
        "perceptual": {k: sha256_of(judge.weights) for k, judge in judging.items() if judge},
    }
    if recipe.orientations != "none" and free_captions(recipe, records):
        decided_by["turning"] = TURNING_FORMAT
    start_run(out, fingerprint=fingerprint(decided_by), recipe=fields)
    keep_order(out, "finetune", recipe.model_dump(mode="json"), processes=processes)


def stage_of(recipe: FinetuneRecipe) -> AutoencoderStage | None:
    """The training of the autoencoder; None where it stays as it is."""
    stage = recipe.build.autoencoder if recipe.build else None
    return stage if stage and stage.steps else None


def schedule_of(recipe: FinetuneRecipe) -> Schedule:
    """How UNet and text encoder are optimised."""
    return Schedule(
        recipe.steps,
        recipe.batch_size,
        recipe.learning_rate,
        recipe.schedule,
        recipe.warmup_steps,
        recipe.weight_decay,
        recipe.max_grad_norm,
        recipe.ema_decay,
        recipe.checkpoint_every,
        recipe.seed,
        recipe.restart_every,
        accumulation=recipe.gradient_accumulation,
    )
