"""How far L_attn moves a UNet beside L_rec: the norms of their gradients as finetuning begins.

    python -m benchmarks.loss_shares mini runs/isic2018

A mean over the pixels of a map is weighed against a mean over the latents; the sum that the paper
prints for Eq. 3 is as many times larger as a map has pixels, and so is its gradient.
"""

from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import default_collate

from benchmarks.measure import machine
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.small_model import build_pipeline
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.training_images import read_training_images
from didgen.augment.prompts.prompt import PREFIX
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.reading import read_recipe


def gradient(module: RegionLoss, unet: nn.Module, batch: dict[str, object]) -> Tensor:
    """The gradient of a loss by all weights of the UNet, as one vector."""
    unet.zero_grad(set_to_none=True)
    module(batch)["loss"].backward()
    return torch.cat([p.grad.flatten() for p in unet.parameters() if p.grad is not None])


def norms(
    pipeline: LesionPairPipeline, dataset: RegionDataset, recipe: FinetuneRecipe, batches: int
) -> list[tuple[float, float]]:
    """Norms of the gradients of L_rec and of L_attn, without its weight, for each batch."""
    unet, found = pipeline.unet, []
    for first in range(0, batches * recipe.batch_size, recipe.batch_size):
        numbers = range(first, first + recipe.batch_size)
        batch = default_collate([dataset[n, n % len(dataset)] for n in numbers])
        # Attention is captured in both, so that both come from the same arithmetic.
        light, heavy = (
            gradient(
                RegionLoss(pipeline, recipe.model_copy(update={"attention_weight": weight})),
                unet,
                batch,
            )
            for weight in (1.0, 2.0)
        )
        attention = heavy - light
        found.append(((light - attention).norm().item(), attention.norm().item()))
    return found


def main(
    model: Annotated[str, typer.Argument(help="`mini`, a folder, or a hub id.")],
    source: Annotated[Path, typer.Argument(help="Folder of a captioned source manifest.")],
    fresh: Annotated[
        bool, typer.Option(help="A UNet of the recipe mini with random weights instead.")
    ] = False,
    batches: Annotated[int, typer.Option(min=1)] = 8,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 256,
) -> None:
    """Print the norms, and the ratio of 0.1 L_attn to L_rec for a mean and for a sum."""
    print(machine())
    asked = {"source": source, "model": model, "image_size": size, "cache": False}
    recipe = FinetuneRecipe.model_validate(asked)
    pipeline = load_pipeline(model)
    if fresh:
        shape = read_recipe("mini", FinetuneRecipe).build
        assert shape is not None
        built = build_pipeline(shape, [PREFIX], size, recipe.seed)
        parts = built.components | {"vae": pipeline.vae}
        pipeline = LesionPairPipeline(**parts, requires_safety_checker=False)
    manifest, records = read_training_images(recipe)
    steps = pipeline.scheduler.config.num_train_timesteps
    found = norms(pipeline, RegionDataset(manifest, records, recipe, steps), recipe, batches)
    pixels = recipe.maps.cross_side**2
    table = Table("batches", "of L_rec", "of L_attn", "0.1 L_attn / L_rec", "as a sum")
    ratio = 0.1 * median(attention / reconstruction for reconstruction, attention in found)
    columns = [median(column) for column in zip(*found, strict=True)]
    table.add_row(str(batches), *(f"{c:.3f}" for c in [*columns, ratio]), f"{pixels * ratio:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
