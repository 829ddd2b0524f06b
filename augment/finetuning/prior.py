"""The prior: images of the class, drawn by the model before it is trained (DreamBooth).

Notable choices:
- They are kept as finished latents, in a table like the cache: a killed run draws the rest, and the
  model that draws is the one that was loaded.
- Which of them a training sample has, and its noise, come from `[seed, number, 2]`: what else the
  sample draws stays what it is without a prior.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import StableDiffusionPipeline
from torch import Tensor

from didgen.augment.diffusion.kinds import sampler_of
from didgen.augment.diffusion.noise import generator_of, initial_noise
from didgen.augment.diffusion.pipeline import LesionPairs
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.augment.finetuning.latent_cache import Table
from didgen.augment.finetuning.latents import KEPT
from didgen.manifests.progress import progress_bar
from didgen.manifests.recipes.finetune import FinetuneRecipe, Prior


@dataclass(frozen=True)
class PriorImages:
    """Latents of the class, rows of `latents` (4, h, w) in a table."""

    table: Table

    def item(self, seed: int, number: int, timesteps: int) -> dict[str, Any]:
        """What training sample `number` of a run learns of the class.

        `prior_latents` and `prior_noise` (4, h, w); `prior_timestep`, below `timesteps`.
        """
        rng = np.random.default_rng([seed, number, 2])
        latents = self.table.read(int(rng.integers(self.table.count)), "latents").float()
        noise = rng.standard_normal(tuple(latents.shape), dtype=np.float32)
        return {
            "prior_latents": latents,
            "prior_timestep": int(rng.integers(timesteps)),
            "prior_noise": torch.from_numpy(noise),
        }


def draw_prior(
    accelerator: Accelerator,
    pipeline: StableDiffusionPipeline,
    recipe: FinetuneRecipe,
    prior: Prior,
    out: Path,
) -> PriorImages:
    """Draw the images of the class that `out/cache` lacks; the processes share its shards."""
    table = Table(out / "cache", "prior-fp16", prior.images)
    sampler = sampler_of(pipeline)
    sampler.to(accelerator.device)
    config = sampler.unet.config
    shape = (config.in_channels, config.sample_size, config.sample_size)

    def row(index: int) -> dict[str, Tensor]:
        sampler.scheduler = scheduler_of(pipeline, prior.scheduler)
        seed = (recipe.seed, index)
        with accelerator.autocast():
            drawn = sampler(
                [prior.prompt],
                num_inference_steps=prior.steps,
                guidance_scale=prior.cfg,
                generator=[generator_of(seed)],
                latents=initial_noise([seed], shape),
                output_type="latent",
            )
        assert isinstance(drawn, LesionPairs)
        return {"latents": drawn.images[0].to(KEPT)}

    sampler.set_progress_bar_config(disable=True)
    rank, world = accelerator.process_index, accelerator.num_processes
    with progress_bar(disable=not accelerator.is_main_process) as progress:
        total = sum(map(len, table.shards()[rank::world]))
        task = progress.add_task("images of the class", total=total, state="")
        for done in table.fill(row, rank, world):
            progress.advance(task, done)
    accelerator.wait_for_everyone()
    return PriorImages(table)
