"""ControlNet (Zhang et al., ICCV 2023): an image of a mask, by a trained copy of a frozen model.

The nets are diffusers' ControlNetModel: a copy of the encoder that trains, whose features reach the
frozen decoder through convolutions that begin as zeros. The loss is Eq. 1. It learns on the loop,
the data and the cache of DiDGen's own finetuning.

Notable choices:
- The model directory is the base in diffusers' layout, with the copy in `controlnet/`. So it moves
  as one, and both load by `from_pretrained`.
- Samples are drawn by diffusers' own pipeline. The mask of a pair is its layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor

from didgen.augment.contact_sheets import pair_sheet
from didgen.augment.device import Device
from didgen.augment.diffusion.autoencoder import decode, levels
from didgen.augment.diffusion.images import load_mask
from didgen.augment.diffusion.kinds import is_xl
from didgen.augment.diffusion.model_folder import load_pipeline, replaced, save_pipeline
from didgen.augment.diffusion.noise import TrySeed, generator_of, initial_noise
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.diffusion_run import DiffusionRun, schedule_of
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.sample_sheets import records_of_sheets
from didgen.augment.finetuning.training_images import words_of
from didgen.augment.methods.diffusion_opening import open_diffusion
from didgen.augment.methods.generator import LayoutPairs, Opened, Planned
from didgen.augment.prompts.prompt import compose
from didgen.augment.tensor_files import written
from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.files import write_bytes
from didgen.manifests.images import encoded
from didgen.manifests.provenance.model_card import rival_card
from didgen.manifests.provenance.model_method import ModelMethod, method_of
from didgen.manifests.provenance.models import (
    ingredients,
    model_place,
)
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.rivals import ControlNetRecipe
from didgen.manifests.recipes.sampling import Sampling

FOLDER = "controlnet"
"""The copy's folder in a model directory, as diffusers calls it."""


class ControlLoss(RegionLoss):
    """Eq. 1 of the controlled model: the copy trains, the base is frozen, but for its decoder.

    A batch also has `layout`, masks (B, 1, S, S) of the image's size.
    """

    recipe: ControlNetRecipe

    def __init__(self, pipeline: StableDiffusionPipeline, recipe: ControlNetRecipe) -> None:
        super().__init__(pipeline, recipe)
        self.unet.requires_grad_(False)
        # What the copy does not take from the base begins at random: the mask's embedding.
        torch.manual_seed(recipe.seed)
        self.control = ControlNetModel.from_unet(
            self.unet, conditioning_embedding_out_channels=recipe.embedding_channels
        )
        if recipe.gradient_checkpointing:
            self.control.enable_gradient_checkpointing()
        if recipe.decoder_learning_rate is not None:
            for part in (self.unet.up_blocks, self.unet.conv_norm_out, self.unet.conv_out):
                part.requires_grad_(True)

    def prediction(
        self, noisy: Tensor, timesteps: Tensor, context: Tensor, batch: dict[str, Any]
    ) -> Tensor:
        """What the base predicts with the copy's features added, (B, 4, h, w)."""
        down, mid = self.control(
            noisy, timesteps, context, condition_of(batch["layout"]), return_dict=False
        )
        output: Tensor = self.predict(
            noisy,
            timesteps,
            context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        return output


def condition_of(layouts: Tensor) -> Tensor:
    """Masks (B, 1, S, S) in [0, 1] as a ControlNet sees them, as RGB images (B, 3, S, S)."""
    return layouts.expand(-1, 3, -1, -1)


def train_controlnet(recipe: ControlNetRecipe, out: Path) -> Path:
    """Train a ControlNet into the folder `out`; returns the model directory, `out/model`.

    Raises DidgenError as `finetune` does.
    """
    run = DiffusionRun.prepared(recipe, out)
    recipe, pipeline = run.recipe, run.pipeline
    if is_xl(pipeline):
        raise DidgenError(
            f"The model {recipe.model} is of SDXL, and this port of ControlNet takes Stable "
            "Diffusion 1 and 2; name one of these."
        )
    with run.begun():
        timesteps = pipeline.scheduler.config.num_train_timesteps
        dataset = RegionDataset(run.manifest, run.records, recipe, timesteps)
        dataset.layouts = True
        objective = ControlLoss(pipeline, recipe)
        slower = recipe.decoder_learning_rate
        shares = {} if slower is None else {"unet": slower / recipe.learning_rate}
        schedule = replace(schedule_of(recipe), shares=shares)
        run.train(FOLDER, objective, dataset, schedule, partial(_write_sheet, run, objective))
        if run.accelerator.is_main_process:
            _save(run, objective.control)
    return out / "model"


def _save(run: DiffusionRun[ControlNetRecipe], control: ControlNetModel) -> None:
    """Write the model directory: the base, the copy, its method, and its papers."""
    recipe, records = run.done, run.records
    method = ModelMethod(
        method="controlnet",
        trained=f"{recipe.steps} steps of {recipe.batch_size} images",
        image_size=recipe.image_size,
    )
    card = rival_card(method, recipe.model_dump(mode="json"), ingredients(recipe, records))
    captions = ((record.label, words_of(recipe, record)) for record in records)
    dtype = getattr(torch, recipe.save_as)
    seen = run.before | TrainedOn.of(records)
    control.to("cpu", dtype)
    # diffusers would write where the base's weights were loaded from.
    control.register_to_config(_name_or_path="")
    with replaced(run.out / "model") as new:
        save_pipeline(run.pipeline, new, captions, dtype, card, seen)
        with written(new / FOLDER):
            control.save_pretrained(new / FOLDER, safe_serialization=True)
        method.write(new)


def _write_sheet(run: DiffusionRun[ControlNetRecipe], objective: ControlLoss, step: int) -> None:
    """Write a sheet of pairs drawn by masks of the validation split; without one there is none."""
    recipe, manifest = run.recipe, run.manifest
    records = records_of_sheets(recipe, manifest)
    if not records:
        return
    sampler = LesionPairPipeline(**run.pipeline.components, requires_safety_checker=False)
    layouts = torch.stack([load_mask(manifest, record, recipe.image_size) for record in records])
    prompts = [compose(words_of(recipe, record)) for record in records]
    with objective.resting():
        images = drawn_pairs(
            sampler, objective.control, prompts, range(len(records)), layouts, recipe.sampling
        )
    masks = layouts[:, 0].numpy() > 0.5
    sheet = pair_sheet(images, masks, masks, [record.label or "" for record in records])
    write_bytes(run.out / "sheets" / f"step-{step:07d}.png", encoded(sheet, "PNG"))


@torch.no_grad()
def drawn_pairs(
    pipeline: LesionPairPipeline,
    control: ControlNetModel,
    prompts: Sequence[str],
    seeds: Sequence[TrySeed],
    layouts: Tensor,
    sampling: Sampling,
) -> NDArray[np.uint8]:
    """Images (B, S, S, 3) of prompts and layouts (B, 1, S, S), each from its own seed."""
    parts = pipeline.components | {"scheduler": scheduler_of(pipeline, sampling.scheduler)}
    sampler = StableDiffusionControlNetPipeline(
        **parts, controlnet=control, requires_safety_checker=False
    )
    sampler.set_progress_bar_config(disable=True)
    embeds, negative = pipeline.texts(prompts, free=sampling.cfg > 1)
    side, channels = pipeline.unet.config.sample_size, pipeline.unet.config.in_channels
    latents = sampler(
        prompt_embeds=embeds,
        negative_prompt_embeds=negative,
        image=condition_of(layouts),
        height=layouts.shape[-2],
        width=layouts.shape[-1],
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.cfg,
        eta=sampling.ddim_eta,
        generator=[generator_of(seed) for seed in seeds],
        latents=initial_noise(seeds, (channels, side, side)).to(pipeline.unet.dtype),
        output_type="latent",
    ).images
    images = levels(decode(pipeline.vae, latents)).movedim(1, -1)
    shown: NDArray[np.uint8] = images.cpu().numpy()
    return shown


@dataclass(frozen=True)
class ControlledDiffusion(LayoutPairs):
    """The generator: each layout with an image of it, by its prompt too."""

    pipeline: LesionPairPipeline
    control: ControlNetModel
    sampling: Sampling

    def to(self, device: Device) -> None:
        """Bring both models to a device and its number format; compile where the recipe says so."""
        self.pipeline.to(device.name, device.dtype)
        self.control.to(device.name, device.dtype)
        if self.sampling.compile:
            self.pipeline.unet.compile()
            self.control.compile()

    def images(
        self,
        planned: Sequence[Planned],
        seeds: Sequence[TrySeed],
        layouts: NDArray[np.bool_],
        device: Device,
    ) -> NDArray[np.uint8]:
        guides = torch.from_numpy(layouts)[:, None].float()
        prompts = [one.prompt for one in planned]
        return drawn_pairs(self.pipeline, self.control, prompts, seeds, guides, self.sampling)


def open_controlnet(recipe: AugmentRecipe) -> Opened:
    """Open a ControlNet's model directory for a recipe of `didgen augment`.

    Raises DidgenError for a recipe that asks for images without masks, or for a sampling that
    diffusers' pipeline does not have.
    """
    method = method_of(recipe.model, recipe.revision)
    named = f"The model {recipe.model} is a controlnet, which"
    if recipe.images is not None:
        raise DidgenError(f"{named} draws pairs alone; set `images: null`.")
    if recipe.sampling.cfg_rescale:
        raise DidgenError(f"{named} is drawn without `sampling.cfg_rescale`; leave it out.")
    opened, pipeline = open_diffusion(recipe), load_pipeline(recipe.model, recipe.revision)
    place = model_place(recipe.model)
    try:
        control = ControlNetModel.from_pretrained(
            str(place) if place.exists() else recipe.model,
            revision=recipe.revision,
            subfolder=FOLDER,
            use_safetensors=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DidgenError(
            f"The folder {FOLDER} of the model {recipe.model} could not be loaded "
            f"({in_short(error)}); copy the model directory again."
        ) from None
    trained = f"controlnet, a port at {method.trained}, as the model says"
    return replace(
        opened,
        generator=ControlledDiffusion(
            pipeline, control.eval().requires_grad_(False), recipe.sampling
        ),
        varies=False,
        decided={**opened.decided, "method": trained},
        network=None,
    )
