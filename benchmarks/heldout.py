"""A model on images that it was not trained on: what it restores, denoises and finds.

    python -m benchmarks.heldout mini runs/isic2018

Unlike samples, these figures need no judge: each compares with the real image or its mask.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor

from didgen.augment.conditioning.p_tokens import p_token_positions, tokenize
from didgen.augment.diffusion.annotation import binarise, propagate
from didgen.augment.diffusion.attention import captured
from didgen.augment.diffusion.autoencoder import decode, encode
from didgen.augment.diffusion.images import load_mask, load_pixels
from didgen.augment.diffusion.losses import region_masks
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.finetuning.objective import target
from didgen.augment.prompts.prompt import compose
from didgen.manifests.provenance.models import trained_on
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps
from didgen.manifests.sources.records import SourceManifest, SourceRecord

BATCH = 20

NEAR_THE_END = 50
"""Timestep, of 1000, whose noise is about what is left in the last step of sampling."""


@dataclass(frozen=True)
class HeldOut:
    """Figures over held-out images.

    psnr: of the autoencoder, dB; denoising: L_rec as it was trained, over all timesteps; map_iou:
    of the lesion's cross-attention map, cut by Otsu at its own side, with the mask's share of each
    of its pixels above one half; annotation_iou: of Eq. 7 with the mask, at the image's size.
    """

    images: int
    psnr: float
    denoising: float
    map_iou: float
    annotation_iou: float


def held_out(source: SourceManifest, count: int) -> list[SourceRecord]:
    """Masked and captioned records of val and test, evenly over the manifest; `count` at most."""
    records = [r for r in source.records if r.split != "train" and r.mask and r.caption]
    places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    return [records[place] for place in places]


@torch.no_grad()
def measure(
    pipeline: LesionPairPipeline, source: SourceManifest, records: list[SourceRecord]
) -> HeldOut:
    """All figures of a model; noise is drawn from the place of an image, timesteps are spread."""
    size = pipeline.image_size
    errors: list[Tensor] = []
    losses: list[Tensor] = []
    on_maps: list[float] = []
    on_images: list[float] = []
    for first, batch in _batches(records):
        pixels = torch.stack([load_pixels(source, r, size) for r in batch])
        masks = torch.stack([load_mask(source, r, size) for r in batch])
        latents = encode(pipeline.vae, pixels)
        restored = decode(pipeline.vae, latents)
        errors.append((restored.clamp(-1, 1) - pixels).square().mean((1, 2, 3)))
        noise = torch.stack(
            [
                torch.randn(latent.shape, generator=torch.Generator().manual_seed(first + place))
                for place, latent in enumerate(latents)
            ]
        )
        input_ids = tokenize(pipeline.tokenizer, [compose(r.caption) for r in batch])
        context = pipeline.text_encoder(input_ids)[0]
        losses.append(_denoising(pipeline, latents, noise, context, first, len(records)))
        cross, attention = _attention(pipeline, latents, noise, context, input_ids)
        shares = region_masks(masks, cross.shape[-1])[:, 0]
        on_maps += ious(binarise(cross, cross.shape[-1], 0.0), shares.numpy() > 0.5)
        found = binarise(attention, size, Annotation().closing)
        on_images += ious(found, masks[:, 0].numpy() > 0.5)
    return HeldOut(
        images=len(records),
        psnr=float((10 * torch.log10(4 / torch.cat(errors))).mean()),
        denoising=float(torch.cat(losses).mean()),
        map_iou=float(np.mean(on_maps)),
        annotation_iou=float(np.mean(on_images)),
    )


def _batches(records: list[SourceRecord]) -> Iterator[tuple[int, list[SourceRecord]]]:
    for first in range(0, len(records), BATCH):
        yield first, records[first : first + BATCH]


def _denoising(
    pipeline: LesionPairPipeline,
    latents: Tensor,
    noise: Tensor,
    context: Tensor,
    first: int,
    count: int,
) -> Tensor:
    """L_rec of each image, (B,), at timesteps that all images together spread over the range."""
    steps = pipeline.scheduler.config.num_train_timesteps
    # Neighbours in the manifest have one class: a stride without common factor mixes them.
    places = (torch.arange(first, first + len(latents)) * 7919) % count
    timesteps = ((places + 0.5) / count * steps).long()
    return prediction_errors(pipeline, latents, noise, timesteps, context)


def prediction_errors(
    pipeline: LesionPairPipeline, latents: Tensor, noise: Tensor, timesteps: Tensor, context: Tensor
) -> Tensor:
    """Mean squared error of what the model predicts for each image, (B,), as L_rec has it.

    latents and noise: (B, 4, h, w); timesteps: (B,); context: embedded prompts (B, T, C).
    """
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    output = pipeline.unet(noisy, timesteps, context).sample
    aim = target(scheduler, latents, noise, timesteps)
    return F.mse_loss(output, aim, reduction="none").mean((1, 2, 3))


def _attention(
    pipeline: LesionPairPipeline,
    latents: Tensor,
    noise: Tensor,
    context: Tensor,
    input_ids: Tensor,
) -> tuple[Tensor, Tensor]:
    """The lesion's map A_C and its map by Eq. 7, on real images with a little noise."""
    timesteps = torch.full((len(latents),), NEAR_THE_END)
    noisy = pipeline.scheduler.add_noise(latents, noise, timesteps)
    with captured(pipeline.unet, latents.shape[-1], AttentionMaps()) as maps:
        maps.positions = p_token_positions(pipeline.tokenizer, input_ids)
        maps.keep_self = True
        pipeline.unet(noisy, timesteps, context)
    cross = maps.cross_maps()[:, 0]
    return cross, propagate(cross, maps.self_map(), Annotation().tau)


def ious(masks: NDArray[np.bool_], truths: NDArray[np.bool_]) -> list[float]:
    """Intersection over union of each pair of masks (N, H, W); two empty ones agree."""
    return [
        float((mask & truth).sum() / union) if (union := (mask | truth).sum()) else 1.0
        for mask, truth in zip(masks, truths, strict=True)
    ]


def main(
    model: Annotated[str, typer.Argument(help="`mini`, a folder or a hub id.")],
    source: Annotated[Path, typer.Argument(help="Folder of a captioned source manifest.")],
    count: Annotated[int, typer.Option(min=1, help="Images.")] = 240,
) -> None:
    """Print what a model does with held-out images."""
    manifest = SourceManifest.read(source)
    trained_on(model).check(f"The model {model}", source, manifest)
    figures = measure(load_pipeline(model), manifest, held_out(manifest, count))
    for name, value in asdict(figures).items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    typer.run(main)
