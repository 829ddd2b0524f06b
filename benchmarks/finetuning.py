"""Finetuning steps: with the region loss against without, with the cache against without.

python -m benchmarks.finetuning --model sd21-small
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.nn.utils import clip_grad_norm_

from benchmarks.measure import machine, medians, peak_memory, show
from benchmarks.models import PROMPT, Model, disc, load
from didgen.augment.conditioning.p_tokens import tokenize
from didgen.augment.diffusion.autoencoder import encode
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.finetuning.lora import add_adapters
from didgen.augment.finetuning.objective import RegionLoss
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.small_model import Build

PLAIN, REGION, LEAK = "without region loss", "with L_attn", "with L_attn and L_SA"
UNCACHED, CHECKPOINTED, LORA, HALVED, COMPILED = (
    "with L_attn, no cache",
    "with L_attn, checkpointed",
    "with L_attn, LoRA",
    "with L_attn, no cache, half size",
    "with L_attn, compiled",
)

FIELDS: dict[str, dict[str, Any]] = {
    PLAIN: {"attention_weight": 0},
    REGION: {},
    LEAK: {"leak_weight": 0.1},
    UNCACHED: {"cache": False},
    CHECKPOINTED: {"gradient_checkpointing": True},
    LORA: {"lora": {"rank": 16}},
    HALVED: {"cache": False, "half_size_until": 1},
    COMPILED: {"compile": True},
}
"""What a recipe says for each kind of step."""


def recipe_of(kind: str, model: Model) -> FinetuneRecipe:
    """The recipe of a kind of step; nothing is read from its source."""
    # The bundled model trained its text encoder along; the others are finetuned.
    origin = {"build": Build()} if model == "mini" else {"model": model}
    size = 256 if model == "mini" else 512
    fields = {"source": Path("unused"), "image_size": size, **origin, **FIELDS[kind]}
    return FinetuneRecipe.model_validate(fields)


class Trainee:
    """A model with its objective and optimizer, and one batch that is trained on again and again.

    AdamW's state is made by the first step.
    """

    def __init__(
        self, pipeline: LesionPairPipeline, recipe: FinetuneRecipe, batch: int, half: bool
    ) -> None:
        self.half = half
        self.device, self.batch = pipeline.device, batch_of(pipeline, recipe, batch)
        if recipe.lora is not None:
            add_adapters(
                pipeline.unet, recipe.lora, torch.bfloat16 if half else torch.float32, seed=0
            )
        self.objective = RegionLoss(pipeline, recipe).train()
        if recipe.cache:
            pipeline.vae.to("meta")
            if recipe.build is None:
                pipeline.text_encoder.to("meta")
        self.weights = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-5, fused=True)

    def step(self) -> None:
        """One step of training."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            loss = self.objective(self.batch)["loss"]
        loss.backward()
        clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def trainee(model: Model, kind: str, batch: int, half: bool) -> Trainee:
    """A model that takes steps of a kind."""
    return Trainee(load(model), recipe_of(kind, model), batch, half)


@torch.no_grad()
def batch_of(pipeline: LesionPairPipeline, recipe: FinetuneRecipe, count: int) -> dict[str, Any]:
    """A batch as `RegionDataset` gives it: random pixels, or what the cache holds of them."""
    generator = torch.Generator().manual_seed(0)
    size = recipe.image_size // 2 if recipe.half_size_until else recipe.image_size
    side = size // 8
    batch: dict[str, Any] = {
        "mask": torch.nn.functional.adaptive_avg_pool2d(disc(count), side),
        "prompt": [PROMPT] * count,
        "prompted": torch.ones(count, dtype=torch.bool),
        "timestep": torch.randint(1000, (count,), generator=generator),
        "noise": torch.randn(count, 4, side, side, generator=generator),
    }
    pixels = torch.rand(count, 3, size, size, generator=generator) * 2 - 1
    if recipe.cache:
        batch["latents"] = encode(pipeline.vae, pixels.to(pipeline.device))
        ids = tokenize(pipeline.tokenizer, batch["prompt"]).to(pipeline.device)
        batch["context"] = pipeline.text_encoder(ids)[0]
    else:
        batch["pixels"] = pixels
    return {
        name: value.to(pipeline.device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def two_steps(model: Model, kind: str, batch: int, half: bool) -> None:
    """Load and train, for a process whose memory is measured; the second step has AdamW's state."""
    trained = trainee(model, kind, batch, half)
    trained.step()
    trained.step()


def main(
    model: Model = "sd21-small",
    batch: int = 4,
    rounds: int = 5,
    half: Annotated[bool, typer.Option("--half", help="Compute in bf16.")] = False,
    kinds: Annotated[
        str, typer.Option(help=f"Numbers of the kinds of steps: {', '.join(FIELDS)}.")
    ] = "0,1,2,3,4,5,6",
) -> None:
    """Measure a step of finetuning in its kinds, side by side."""
    print(machine())
    # Every kind holds its own model and its own moments: where memory is short, take two at a time.
    asked = [list(FIELDS)[int(number)] for number in kinds.split(",")]
    chosen = [kind for kind in asked if not (kind == LORA and model == "mini")]
    setting = f"{model}, batch {batch}, {'bf16' if half else 'float32'}"
    steps: dict[str, Callable[[], None]] = {
        kind: trainee(model, kind, batch, half).step for kind in chosen
    }
    show(f"{setting}: medians of {rounds} steps", medians(steps, rounds), "seconds")
    del steps
    peaks = {kind: peak_memory(two_steps, model, kind, batch, half) for kind in chosen}
    show(f"{setting}: peak of a process", peaks, "MiB")


if __name__ == "__main__":
    typer.run(main)
