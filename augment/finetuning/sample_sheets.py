"""Sample sheets: pairs drawn with the weights of a training while it runs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from didgen.augment.contact_sheets import pair_sheet
from didgen.augment.diffusion.images import load_mask
from didgen.augment.diffusion.kinds import sampler_of
from didgen.augment.diffusion.pipeline import LesionPairPipeline, LesionPairs, draw
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.training_images import subset, words_of
from didgen.augment.prompts.prompt import compose
from didgen.manifests.files import write_bytes
from didgen.manifests.images import encoded
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.sampling import Sampling
from didgen.manifests.sources.records import SourceManifest, SourceRecord

SHEET = 8
"""Images on a sample sheet."""


@dataclass(frozen=True)
class SampleSheets:
    """Draws the sheets of a training into `folder`, by the `sampling` of its recipe.

    Prompts and layouts are those of validation images that the recipe lets through; without one
    there is no sheet. Sample n of every sheet has seed n, so that sheets show the training alone.
    """

    pipeline: StableDiffusionPipeline
    objective: RegionLoss
    recipe: FinetuneRecipe
    manifest: SourceManifest
    folder: Path

    def draw(self, step: int) -> None:
        """Draw the sheet of a step, of the size that the steps so far were trained at."""
        recipe, unet = self.recipe, self.pipeline.unet
        records = records_of_sheets(recipe, self.manifest)
        if not records:
            return
        side, early = recipe.image_size // 8, step <= recipe.half_size_until
        sampling = recipe.sampling
        if early:
            sampling = sampling.model_copy(update={"maps": sampling.maps.halved()})
        prompts = [compose(words_of(recipe, record)) for record in records]
        with self.objective.resting():
            unet.register_to_config(sample_size=side // 2 if early else side)
            sampler = sampler_of(self.pipeline)
            layouts = torch.stack(
                [load_mask(self.manifest, record, sampler.image_size) for record in records]
            )
            drawn = draw_batches(sampler, prompts, sampling, layouts)
            unet.register_to_config(sample_size=side)
        images, masks = (
            np.concatenate([getattr(batch, name) for batch in drawn])
            for name in ("images", "masks")
        )
        titles = [record.label or "" for record in records]
        sheet = pair_sheet(images, masks, layouts[:, 0].numpy() > 0.5, titles)
        write_bytes(self.folder / f"step-{step:07d}.png", encoded(sheet, "PNG"))


def records_of_sheets(recipe: FinetuneRecipe, manifest: SourceManifest) -> list[SourceRecord]:
    """The validation images whose prompts and masks the sheets of a training are drawn by."""
    records = subset(recipe, manifest.select(split="val", masked=True))
    return records[:: max(1, len(records) // SHEET)][:SHEET]


def draw_batches(
    sampler: LesionPairPipeline, prompts: list[str], sampling: Sampling, layouts: torch.Tensor
) -> list[LesionPairs]:
    """Draw a pair for each prompt and layout, with its number as seed, a batch at a time."""
    drawn = []
    for first in range(0, len(prompts), sampling.batch_size):
        part = slice(first, first + sampling.batch_size)
        seeds = range(len(prompts))[part]
        drawn.append(draw(sampler, prompts[part], seeds, sampling, layouts[part]))
    return drawn
