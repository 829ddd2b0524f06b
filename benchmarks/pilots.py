"""Pilot trainings for the bundled model: shapes and schedules, each for the same processor time.

    python -m benchmarks.pilots runs/isic2018 --minutes 10 --out runs/pilots

Notable choices:
- The budget is the processor time of the UNet's stage, over all cores, so that other work on the
  machine changes how long a pilot takes and not how far it comes.
- Each pilot is a whole recipe whose schedule ends with its budget, as a long training's would.
- The autoencoder is trained once and handed on.
"""

import multiprocessing
import shutil
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.finetuning import Trainee
from benchmarks.heldout import held_out, measure
from benchmarks.measure import machine
from benchmarks.models import PROMPT
from didgen.augment.device import bf16_on_cpu
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline, draw
from didgen.augment.diffusion.small_model import build_pipeline
from didgen.augment.finetuning.finetune import finetune
from didgen.manifests.files import read_json, write_json
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.recipes.sampling import Sampling
from didgen.manifests.sources.records import SourceManifest

HALF_FIRST = "half-size-first"
"""A cycle at half the size, then one of as many steps at the whole."""

PILOTS: dict[str, dict[str, Any]] = {
    "base": {},
    "deep": {"build": {"unet_channels": [64, 160, 320]}},
    "wide": {"build": {"unet_channels": [96, 192, 256]}},
    "batch-8": {"batch_size": 8},
    "rate-1e-3": {"learning_rate": 1e-3},
    "min-snr": {"min_snr_gamma": 5.0},
    "no-attention-loss": {"attention_weight": 0.0},
    HALF_FIRST: {},
}
"""What each pilot changes in the recipe `mini`; one alone begins at half the size."""

STEPS_TIMED = 6
"""Steps whose processor time says how many fit into the budget, after one that does not count."""

DRAWN = 8
"""Images of a batch whose time is told."""


def recipe_of(name: str, source: Path, steps: int) -> FinetuneRecipe:
    """The recipe of a pilot over a number of steps."""
    base = read_recipe("mini", FinetuneRecipe).model_dump(mode="json")
    fields = dict(PILOTS[name])
    cycles = 2 if name == HALF_FIRST else 1
    cycle = max(1, steps // cycles)
    changed = {
        "source": str(source),
        "steps": cycles * cycle,
        "restart_every": cycle,
        "half_size_until": (cycles - 1) * cycle,
        "warmup_steps": min(base["warmup_steps"], max(1, cycle // 5)),
        "build": base["build"] | fields.pop("build", {}),
    }
    return FinetuneRecipe.model_validate(base | fields | changed)


def seconds_a_step(recipe: FinetuneRecipe) -> float:
    """Processor seconds of a step of training, the recipe's first."""
    assert recipe.build is not None
    built = build_pipeline(recipe.build, [PROMPT], recipe.image_size, recipe.seed)
    pipeline = LesionPairPipeline(**built.components, requires_safety_checker=False)
    # The pipeline is on the CPU, whose time is the budget.
    trained = Trainee(pipeline, recipe, recipe.batch_size, bf16_on_cpu())
    trained.step()
    begin = process_time()
    for _ in range(STEPS_TIMED):
        trained.step()
    return (process_time() - begin) / STEPS_TIMED


def train_pilot(name: str, source: Path, minutes: float, out: Path) -> None:
    """Train a pilot for `minutes` of processor time, and write what it can do to `pilot.json`."""
    folder, shared = out / name, out / "autoencoder.safetensors"
    steps_file = out / f"{name}.steps.json"
    # The number of steps is part of the recipe: a pilot that goes on must ask for the same.
    if not steps_file.exists():
        seconds = seconds_a_step(recipe_of(name, source, 2))
        if name == HALF_FIRST:
            seconds = (seconds + seconds_a_step(recipe_of("base", source, 2))) / 2
        write_json(steps_file, {"steps": round(60 * minutes / seconds), "seconds": seconds})
    budget = read_json(steps_file)
    recipe = recipe_of(name, source, budget["steps"])
    folder.mkdir(parents=True, exist_ok=True)
    if shared.exists():
        shutil.copyfile(shared, folder / shared.name)
    model = finetune(recipe, folder)
    if not shared.exists():
        shutil.copyfile(folder / shared.name, shared)
    manifest = SourceManifest.read(source)
    pipeline = load_pipeline(str(model))
    figures = measure(pipeline, manifest, held_out(manifest, 240))
    begin = perf_counter()
    draw(pipeline, [PROMPT] * DRAWN, range(DRAWN), Sampling(steps=20, cfg=3.0))
    write_json(
        out / f"{name}.json",
        {
            "unet": sum(part.numel() for part in pipeline.unet.parameters()),
            "bytes": sum(path.stat().st_size for path in model.rglob("*.safetensors")),
            "seconds a step": budget["seconds"],
            "steps": recipe.steps,
            "seen": recipe.steps * recipe.batch_size,
            "seconds an image": (perf_counter() - begin) / DRAWN,
            **asdict(figures),
        },
    )


def main(
    source: Annotated[Path, typer.Argument(help="Folder of a captioned source manifest.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the pilots.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Processor time of each.")] = 20,
    names: Annotated[str, typer.Option(help="Which pilots.")] = ",".join(PILOTS),
) -> None:
    """Train every pilot that has no figures yet, and print the table."""
    print(machine())
    table = Table(
        "pilot", "UNet, M", "MB", "steps", "images seen", "s an image", "L_rec", "A_C", "Eq. 7"
    )
    for name in names.split(","):
        if not (out / f"{name}.json").exists():
            # accelerate keeps one state a process.
            process = multiprocessing.get_context("spawn").Process(
                target=train_pilot, args=(name, source, minutes, out)
            )
            process.start()
            process.join()
            if process.exitcode:
                raise typer.Exit(process.exitcode)
        told = read_json(out / f"{name}.json")
        table.add_row(
            name,
            f"{told['unet'] / 1e6:.1f}",
            f"{told['bytes'] / 1e6:.0f}",
            str(told["steps"]),
            str(told["seen"]),
            f"{told['seconds an image']:.2f}",
            f"{told['denoising']:.4f}",
            f"{told['map_iou']:.3f}",
            f"{told['annotation_iou']:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
