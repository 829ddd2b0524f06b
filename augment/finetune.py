"""Finetuning: the region-aware loss of Eq. 1, 3, 4 on a loaded model, or a small one from nothing.

Notable choices:
- A built model is trained in two stages by the same loop: the autoencoder, then UNet and text
  encoder. A loaded one trains its UNet alone, like the paper.
- The run's folder holds everything to go on from; a recipe that differs is refused.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import AutoencoderTiny, DDPMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save
from torch import Tensor, nn

from augment.attention import CROSS_SIDE, SELF_SIDE, captured, layers_at
from augment.autoencoder import AutoencoderLoss, start_as_area_average
from augment.build import build_pipeline
from augment.dataset import ImageDataset, RegionDataset, load_mask, load_pixels
from augment.device import choose_device
from augment.display import decisions
from augment.loop import Schedule, train
from augment.losses import attention_loss, leak_loss, region_masks
from augment.model import encode, load_pipeline, model_hashes, save_pipeline
from augment.pipeline import LesionPairPipeline
from augment.prompt import compose
from augment.sheet import pair_sheet
from augment.tokens import P_TOKENS, add_p_tokens, p_token_positions, tokenize
from manifests.errors import DidgenError
from manifests.files import atomic_file, write_json
from manifests.recipe import AutoencoderStage, FinetuneRecipe, Sampling, fingerprint
from manifests.records import SourceManifest, SourceRecord
from manifests.runs import start_run


class RegionLoss(nn.Module):
    """Eq. 4: L = L_rec + weight L_attn, over one batch of `RegionDataset`.

    Where the recipe gives it a weight, L_SA of Eq. 6 is added: a model built from nothing has no
    self-attention that keeps to regions, which guidance and annotation build on. L_rec follows the
    scheduler's prediction type. Samples whose prompt was dropped count in no L_attn.
    """

    def __init__(self, pipeline: StableDiffusionPipeline, recipe: FinetuneRecipe) -> None:
        super().__init__()
        self.trained = nn.ModuleDict({"unet": pipeline.unet})
        self.frozen = nn.ModuleDict({"vae": pipeline.vae})
        group = self.trained if recipe.build is not None else self.frozen
        group["text_encoder"] = pipeline.text_encoder
        self.frozen.requires_grad_(False)
        self.trained.requires_grad_(True)
        self.text_encoder, self.unet, self.vae = pipeline.text_encoder, pipeline.unet, pipeline.vae
        self.tokenizer = pipeline.tokenizer
        # Samplers that a model may come with, PNDM or DPM++, do not know every prediction type.
        self.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        self.weight, self.normalised = recipe.attention_weight, recipe.normalise_maps
        self.leak_weight = recipe.leak_weight
        _fix_p_tokens(pipeline)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        with torch.no_grad():
            latents = encode(self.vae, batch["pixels"]).float()
        noise, timesteps, prompted = batch["noise"], batch["timestep"], batch["prompted"]
        prompts = [
            prompt if kept else ""
            for prompt, kept in zip(batch["prompt"], prompted.tolist(), strict=True)
        ]
        input_ids = tokenize(self.tokenizer, prompts).to(latents.device)
        positions = torch.zeros(len(prompts), 2, dtype=torch.long, device=latents.device)
        positions[prompted] = p_token_positions(self.tokenizer, input_ids[prompted])

        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        context = self.text_encoder(input_ids)[0]
        with captured(self.unet, latents.shape[-1], self_attention=self.leak_weight > 0) as maps:
            maps.positions = positions
            if self.leak_weight > 0:
                within = region_masks(batch["mask"], SELF_SIDE)
                maps.regions = within.flatten(2).transpose(1, 2)
            output = self.unet(noisy, timesteps, context).sample.float()
        reconstruction = F.mse_loss(output, self._target(latents, noise, timesteps))
        regions = region_masks(batch["mask"], CROSS_SIDE)
        per_sample = attention_loss(maps.cross_maps(), regions, normalised=self.normalised)
        attention = (per_sample * prompted).sum() / prompted.sum().clamp_min(1)
        scalars = {
            "loss": reconstruction + self.weight * attention,
            "reconstruction": reconstruction.detach(),
            "attention": attention.detach(),
        }
        if self.leak_weight > 0:
            leak = leak_loss(maps.attended_regions(), within).mean()
            scalars["loss"] = scalars["loss"] + self.leak_weight * leak
            scalars["leak"] = leak.detach()
        return scalars

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the model predicts, by its scheduler's prediction type."""
        kind = self.scheduler.config.prediction_type
        if kind == "epsilon":
            return noise
        if kind == "v_prediction":
            return self.scheduler.get_velocity(latents, noise, timesteps)
        return latents


def _fix_p_tokens(pipeline: StableDiffusionPipeline) -> None:
    """Keep the P-Tokens' embeddings as they are: their rows get no gradient."""
    weight = pipeline.text_encoder.get_input_embeddings().weight
    rows = pipeline.tokenizer.convert_tokens_to_ids(list(P_TOKENS))
    if weight.requires_grad:
        weight.register_hook(
            lambda gradient: gradient.index_fill(0, torch.tensor(rows, device=gradient.device), 0.0)
        )


def finetune(recipe: FinetuneRecipe, out: Path) -> Path:
    """Run a finetuning recipe into the folder `out`; returns the model's folder, `out/model`.

    Goes on where a stopped run of the same recipe stopped. Raises DidgenError for a source without
    training masks or captions, a model that cannot be loaded, and a folder of another recipe.
    """
    manifest = SourceManifest.read(recipe.source)
    records = manifest.select(split="train", masked=True)
    if not records:
        raise DidgenError(f"{recipe.source} has no training image with a mask; import masks too.")
    if not any(record.caption for record in records):
        raise DidgenError(f"{recipe.source} has no captions; run `didgen caption` on it first.")
    device = choose_device(recipe.mixed_precision)
    accelerator = Accelerator(
        mixed_precision=recipe.mixed_precision,
        log_with="tensorboard",
        project_dir=out,
        cpu=device.name == "cpu",
    )
    if accelerator.is_main_process:
        made = {"device": str(device), "training images": str(len(records))}
        _claim(recipe, records, out)
        decisions(made)
        write_json(out / "decisions.json", made)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("logs")

    if recipe.build is not None:
        texts = [compose(record.caption) for record in records]
        pipeline = build_pipeline(recipe.build, texts, recipe.image_size, recipe.seed)
    else:
        assert recipe.model is not None
        pipeline = load_pipeline(recipe.model, recipe.revision)
        add_p_tokens(pipeline.tokenizer, pipeline.text_encoder)
        # The size that is sampled is the one trained last.
        pipeline.unet.register_to_config(sample_size=recipe.image_size // 8)
    layers_at(pipeline.unet, "attn2", CROSS_SIDE, recipe.image_size // 8)
    layers_at(pipeline.unet, "attn1", SELF_SIDE, recipe.image_size // 8)
    if recipe.build is not None:
        _train_autoencoder(
            accelerator, pipeline.vae, manifest, records, recipe, recipe.build.autoencoder, out
        )

    module = RegionLoss(pipeline, recipe)
    dataset = RegionDataset(
        manifest,
        records,
        recipe.image_size,
        recipe.orientations,
        recipe.caption_probability,
        recipe.prompt_dropout,
        pipeline.scheduler.config.num_train_timesteps,
        recipe.seed,
    )
    schedule = Schedule(
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
    )

    def sample(step: int, weights: nn.Module) -> None:
        assert isinstance(weights, nn.ModuleDict)
        _sample_sheet(pipeline, weights, manifest, out / "sheets" / f"step-{step:07d}.png")

    train(accelerator, "unet", module, module.trained, dataset, schedule, out, sample)
    if accelerator.is_main_process:
        captions = ((record.label, record.caption) for record in records)
        save_pipeline(pipeline, out / "model", captions, getattr(torch, recipe.save_as))
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return out / "model"


def _claim(recipe: FinetuneRecipe, records: list[SourceRecord], out: Path) -> None:
    """Claim the folder for this recipe over these records and this model, or raise DidgenError."""
    asked = recipe.model_dump(mode="json", exclude={"checkpoint_every", "save_as"})
    decided_by = {
        "recipe": asked,
        "records": [(r.key, r.sha256, r.label, r.caption) for r in records],
        "model": model_hashes(recipe.model, recipe.revision) if recipe.model else {},
    }
    start_run(out, fingerprint=fingerprint(decided_by), recipe=asked)


def _train_autoencoder(
    accelerator: Accelerator,
    vae: AutoencoderTiny,
    manifest: SourceManifest,
    records: list[SourceRecord],
    recipe: FinetuneRecipe,
    stage: AutoencoderStage,
    out: Path,
) -> None:
    """First stage of a built model; its result is kept in `out/autoencoder.safetensors`."""
    result = out / "autoencoder.safetensors"
    device = accelerator.device
    sample = records[:: max(1, len(records) // 256)]
    images = torch.stack([load_pixels(manifest, r, recipe.image_size) for r in sample])
    if not result.exists():
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
        train(accelerator, "autoencoder", AutoencoderLoss(vae), vae, dataset, schedule, out)
        if accelerator.is_main_process:
            with atomic_file(result) as file:
                file.write(save(vae.state_dict()))
        accelerator.wait_for_everyone()
    vae.load_state_dict(load_file(result))
    vae.to(device).eval()
    with torch.no_grad():
        deviation = torch.cat([vae.encode(b.to(device)).latents for b in images.split(16)]).std()
    # Like SD's: latents of unit variance, whatever scale the autoencoder settled on.
    vae.register_to_config(scaling_factor=round(1 / deviation.item(), 6))


SHEET = 8
"""Images on a sample sheet."""


def _sample_sheet(
    pipeline: StableDiffusionPipeline, weights: nn.ModuleDict, manifest: SourceManifest, path: Path
) -> None:
    """Pairs drawn with the current weights, by prompts and layouts of the validation split."""
    records = manifest.select(split="val", masked=True)
    records = records[:: max(1, len(records) // SHEET)][:SHEET]
    if not records:
        return
    parts = {**pipeline.components, **dict(weights.items())}
    sampler = LesionPairPipeline(**parts, requires_safety_checker=False)
    modes = [(module, module.training) for module in weights.values()]
    weights.eval()
    layouts = torch.stack([load_mask(manifest, r, sampler.image_size) for r in records])
    prompts = [compose(record.caption) for record in records]
    drawn = sampler.draw(prompts, list(range(len(records))), Sampling(), layouts)
    assert drawn.masks is not None
    titles = [record.label or "" for record in records]
    sheet = pair_sheet(drawn.images, drawn.masks, layouts[:, 0].numpy() > 0.5, titles)
    with atomic_file(path) as file:
        sheet.save(file, "PNG")
    weights.requires_grad_(True)
    for module, training in modes:
        module.train(training)
