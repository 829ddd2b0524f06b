"""Finetuning: the region-aware loss of Eq. 1, 3, 4 on a loaded model, or a small one from nothing.

A built model is trained in two stages by the same loop: the autoencoder, then UNet and text
encoder, from nothing or on from a model of its shape. A loaded one alone trains its UNet, like the
paper.
"""

from pathlib import Path

import torch

from didgen.augment.diffusion.attention import layers_at
from didgen.augment.diffusion.autoencoder import AutoencoderLoss
from didgen.augment.diffusion.model_folder import save_pipeline
from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.augment.finetuning.autoencoder_stage import train_autoencoder
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.diffusion_run import (
    DiffusionRun,
    schedule_of,
    stage_of,
    start_pipeline,
)
from didgen.augment.finetuning.lora import add_adapters, merge_adapters, save_adapters
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.sample_sheets import SampleSheets
from didgen.augment.finetuning.training_images import words_of
from didgen.manifests.provenance.model_card import model_card
from didgen.manifests.provenance.models import ingredients
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.finetune import FinetuneRecipe


def finetune(recipe: FinetuneRecipe, out: Path) -> Path:
    """Run a finetuning recipe into the folder `out`; returns the model's folder, `out/model`.

    With `lora`, `out/model` holds the merged model and `out/lora` the adapters. Goes on where a
    stopped run of the same recipe stopped. Raises DidgenError for a source without training masks
    or captions or one that holds out what the model was trained on, a model that cannot be loaded,
    a folder of another recipe, and one that another process trains in.
    """
    run, stage = DiffusionRun.prepared(recipe, out), stage_of(recipe)
    recipe, pipeline = run.recipe, run.pipeline
    # A recipe that does not fit its model is told before it has a folder.
    restoring = AutoencoderLoss(pipeline.vae, stage.perceptual) if stage else None
    perceptual = PerceptualDistance(recipe.perceptual) if recipe.perceptual else None
    for maps in (recipe.maps, recipe.sampling.maps):
        for kind in ("attn2", "attn1"):
            layers_at(pipeline.unet, kind, maps, recipe.image_size // 8)
    if recipe.lora is not None:
        add_adapters(pipeline.unet, recipe.lora, run.device.dtype, recipe.seed)
    with run.begun():
        if stage is not None and restoring is not None:
            train_autoencoder(run, restoring, stage)
        timesteps = pipeline.scheduler.config.num_train_timesteps
        half = recipe.half_size_until * recipe.batch_size * run.batches
        dataset = RegionDataset(run.manifest, run.records, recipe, timesteps, half)
        objective = RegionLoss(pipeline, recipe, perceptual)
        sheets = SampleSheets(pipeline, objective, recipe, run.manifest, out / "sheets")
        run.train("unet", objective, dataset, schedule_of(recipe), sheets.draw)
        if run.accelerator.is_main_process:
            _save(run)
    return out / "model"


def _save(run: DiffusionRun[FinetuneRecipe]) -> None:
    """Write the model's folder, and with `lora` that of the adapters."""
    recipe, records, pipeline = run.recipe, run.records, run.pipeline
    if recipe.lora is not None:
        save_adapters(pipeline.unet, run.out / "lora")
        # The adapters are merged into the model's own weights, not into what training kept.
        pipeline = start_pipeline(recipe, records)
        merge_adapters(pipeline, run.out / "lora")
    captions = ((record.label, words_of(recipe, record)) for record in records)
    card = model_card(run.done.model_dump(mode="json"), ingredients(recipe, records))
    dtype, seen = getattr(torch, recipe.save_as), run.before | TrainedOn.of(records)
    save_pipeline(pipeline, run.out / "model", captions, dtype, card, seen)
