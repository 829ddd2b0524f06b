"""Finetuning: the region-aware loss of Eq. 1, 3, 4 on a loaded model, or a small one from nothing.

Notable choices:
- A built model is trained in two stages by the same loop: the autoencoder, then UNet and text
  encoder, from nothing or on from a model of its shape. A loaded one alone trains its UNet, like
  the paper.
- What is fixed is computed once, into a cache that the training reads instead.
- The run's folder holds everything to go on from; a recipe that differs is refused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import StableDiffusionPipeline
from torch import Tensor

from didgen.augment.conditioning.p_tokens import add_p_tokens
from didgen.augment.conditioning.texts import encoded, text_parts
from didgen.augment.console import decisions
from didgen.augment.device import choose_device
from didgen.augment.diffusion.attention import layers_at
from didgen.augment.diffusion.autoencoder import AutoencoderLoss
from didgen.augment.diffusion.kinds import is_xl
from didgen.augment.diffusion.model_folder import load_pipeline, save_pipeline
from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.augment.diffusion.small_model import build_pipeline, shape_of
from didgen.augment.finetuning.autoencoder_stage import stage_of, train_autoencoder
from didgen.augment.finetuning.dataset import (
    TURNING_FORMAT,
    RegionDataset,
    class_weights,
    free_captions,
)
from didgen.augment.finetuning.latent_cache import Cache, Table
from didgen.augment.finetuning.latents import KEPT, check_posterior, encode_exactly
from didgen.augment.finetuning.loop import Schedule, train
from didgen.augment.finetuning.lora import add_adapters, merge_adapters, save_adapters
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.prior import draw_prior
from didgen.augment.finetuning.sample_sheets import SampleSheets
from didgen.augment.finetuning.training_images import read_training_images, words_of
from didgen.augment.finetuning.training_run import accelerator_of, begun
from didgen.augment.prompts.prompt import compose
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, sha256_of, write_json
from didgen.manifests.progress import progress_bar
from didgen.manifests.provenance.model_card import model_card
from didgen.manifests.provenance.models import (
    ingredients,
    model_hashes,
    pinned,
    trained_on,
    unlisted,
)
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.training import asked
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.order import keep_order
from didgen.manifests.sources.records import SourceManifest, SourceRecord


def finetune(recipe: FinetuneRecipe, out: Path) -> Path:
    """Run a finetuning recipe into the folder `out`; returns the model's folder, `out/model`.

    With `lora`, `out/model` holds the merged model and `out/lora` the adapters. Goes on where a
    stopped run of the same recipe stopped. Raises DidgenError for a source without training masks
    or captions or one that holds out what the model was trained on, a model that cannot be loaded,
    a folder of another recipe, and one that another process trains in.
    """
    manifest, records = read_training_images(recipe)
    stage = stage_of(recipe)
    device = choose_device(recipe.mixed_precision, training=True)
    accelerator = accelerator_of(device, out)
    decided = {"device": str(device), "training images": str(len(records))}
    count = accelerator.num_processes * recipe.gradient_accumulation
    if count > 1:
        decided["batch"] = _batch_in_words(recipe, accelerator.num_processes)
    pipeline = start_pipeline(recipe, records)
    recipe = pinned(recipe)
    before = trained_on(recipe.model, recipe.revision)
    before.check(f"The model {recipe.model}", recipe.source, manifest)
    decided |= unlisted(recipe.model, before) | free_captions(recipe, records)
    restoring = AutoencoderLoss(pipeline.vae, stage.perceptual) if stage else None
    perceptual = PerceptualDistance(recipe.perceptual) if recipe.perceptual else None
    for maps in (recipe.maps, recipe.sampling.maps):
        for kind in ("attn2", "attn1"):
            layers_at(pipeline.unet, kind, maps, recipe.image_size // 8)
    if recipe.lora is not None:
        add_adapters(pipeline.unet, recipe.lora, device.dtype, recipe.seed)
    # A recipe that does not fit its model is told before it has a folder.
    with begun(
        accelerator,
        out,
        decided,
        lambda: claim(recipe, manifest, records, out, accelerator.num_processes),
    ):
        if stage is not None and restoring is not None:
            train_autoencoder(accelerator, restoring, manifest, records, recipe, stage, out)

        dataset = RegionDataset(
            manifest,
            records,
            recipe,
            pipeline.scheduler.config.num_train_timesteps,
            recipe.half_size_until * recipe.batch_size * count,
        )
        objective = RegionLoss(pipeline, recipe, perceptual)
        fill(accelerator, pipeline, dataset, device.dtype, recipe, out)

        sheets = SampleSheets(pipeline, objective, recipe, manifest, out / "sheets")

        def sample(step: int) -> None:
            with accelerator.autocast():
                pipeline.to(accelerator.device)
                sheets.draw(step)
                leave_to_cache(pipeline, recipe)

        leave_to_cache(pipeline, recipe)
        weights = class_weights(records, recipe.class_balance)
        train(accelerator, "unet", objective, dataset, weights, schedule_of(recipe), out, sample)
        if accelerator.is_main_process:
            if recipe.lora is not None:
                save_adapters(pipeline.unet, out / "lora")
                # The adapters are merged into the model's own weights, not into what training kept.
                pipeline = start_pipeline(recipe, records)
                merge_adapters(pipeline, out / "lora")
            captions = ((record.label, words_of(recipe, record)) for record in records)
            done = recipe.model_copy(update={"mixed_precision": device.precision})
            card = model_card(done.model_dump(mode="json"), ingredients(recipe, records))
            dtype, seen = getattr(torch, recipe.save_as), before | TrainedOn.of(records)
            save_pipeline(pipeline, out / "model", captions, dtype, card, seen)
    return out / "model"


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


def fill(
    accelerator: Accelerator,
    pipeline: StableDiffusionPipeline,
    dataset: RegionDataset,
    dtype: torch.dtype,
    recipe: FinetuneRecipe,
    out: Path,
) -> None:
    """Give a dataset what is made once for its run: the cache, and images of the prior."""
    if recipe.cache:
        dataset.cache = fill_cache(accelerator, pipeline, dataset, dtype, recipe, out)
        if accelerator.is_main_process:
            told = {"cache": str(dataset.cache)}
            decisions(told)
            write_json(out / "decisions.json", read_json(out / "decisions.json") | told)
    if recipe.prior is not None:
        dataset.prior = draw_prior(accelerator, pipeline, recipe, recipe.prior, out)


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
        encoded = encode_exactly(pipeline.vae, dataset.views(index).to(accelerator.device))
        kept = encoded if sampled else {"latents": encoded["latents"]}
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
