"""The autoencoder's stage of finetuning: a model from nothing learns its latents first."""

import torch
import torch.nn.functional as F
from safetensors.torch import save

from didgen.augment.diffusion.autoencoder import AutoencoderLoss, start_as_area_average
from didgen.augment.diffusion.images import load_pixels
from didgen.augment.finetuning.checkpoint import checkpoints
from didgen.augment.finetuning.dataset import ImageDataset, class_weights
from didgen.augment.finetuning.diffusion_run import DiffusionRun
from didgen.augment.finetuning.loop import Schedule, Stage, train
from didgen.augment.tensor_files import load_tensors
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.small_model import AutoencoderStage


def train_autoencoder(
    run: DiffusionRun[FinetuneRecipe], objective: AutoencoderLoss, stage: AutoencoderStage
) -> None:
    """First stage of a built model; its result is kept as `autoencoder.safetensors`."""
    manifest, records, recipe, out = run.manifest, run.records, run.recipe, run.out
    result = out / "autoencoder.safetensors"
    accelerator, vae = run.accelerator, objective.vae
    device = accelerator.device
    sample = records[:: max(1, len(records) // 256)]
    images = torch.stack([load_pixels(manifest, r, recipe.image_size) for r in sample])
    if not result.exists():
        kept = out / "checkpoints"
        if checkpoints(kept / "unet") and not checkpoints(kept / "autoencoder"):
            raise DidgenError(
                f"{result} is gone, and the UNet in {kept} was trained on its latents; put it "
                "back, or choose another directory."
            )
        if recipe.model is None:
            start_as_area_average(vae, F.avg_pool2d(images, 8) / 2 + 0.5)
        vae.to(device)
        dataset = ImageDataset(
            manifest, records, recipe.image_size, stage.crop, recipe.orientations, recipe.seed
        )
        schedule = Schedule(
            steps=stage.steps,
            batch_size=stage.batch_size,
            learning_rate=stage.learning_rate,
            schedule="cosine",
            warmup_steps=min(50, stage.steps),
            weight_decay=0.0,
            max_grad_norm=recipe.max_grad_norm,
            ema_decay=None,
            checkpoint_every=recipe.checkpoint_every,
            seed=recipe.seed,
        )
        weights = class_weights(records, recipe.class_balance)
        train(accelerator, Stage("autoencoder", objective, dataset, weights, schedule), out)
        if accelerator.is_main_process:
            write_bytes(result, save(vae.state_dict()))
        accelerator.wait_for_everyone()
    load_tensors(result, vae.state_dict())
    vae.to(device).eval()
    with torch.no_grad():
        deviation = torch.cat([vae.encode(b.to(device)).latents for b in images.split(16)]).std()
    # Like SD's: latents of unit variance, whatever scale the autoencoder settled on.
    vae.register_to_config(scaling_factor=round(1 / deviation.item(), 6))
