"""Guided pairs against plain images: seconds, peak memory, and images a second by batch.

python -m benchmarks.sampling --model sd21-small
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
import typer

from benchmarks.measure import machine, medians, peak_memory, show
from benchmarks.models import PROMPT, Model, disc, load
from benchmarks.naive import draw_naively
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.schedulers import scheduler_of

PLAIN, GUIDED, NAIVE = "plain CFG", "guided", "guided, naive capture"


def draw(pipeline: LesionPairPipeline, kind: str, steps: int, batch: int, half: bool) -> None:
    """Draw one batch of a kind: images alone, pairs, or pairs by the naive baseline."""
    generator = [torch.Generator().manual_seed(seed) for seed in range(batch)]
    with torch.autocast(pipeline.device.type, torch.bfloat16, enabled=half):
        if kind == NAIVE:
            draw_naively(pipeline, [PROMPT] * batch, disc(batch), steps, generator)
        else:
            layouts = None if kind == PLAIN else disc(batch)
            pipeline([PROMPT] * batch, layouts, num_inference_steps=steps, generator=generator)


def drawing(
    pipeline: LesionPairPipeline, kinds: list[str], steps: int, batch: int, half: bool
) -> dict[str, Callable[[], None]]:
    """What `medians` lets take turns."""
    return {kind: partial(draw, pipeline, kind, steps, batch, half) for kind in kinds}


def prepared(model: Model, compiled: bool = False) -> LesionPairPipeline:
    """A pipeline with DDIM, so that a step is one pass through the UNet."""
    pipeline = load(model)
    pipeline.scheduler = scheduler_of(pipeline, "ddim")
    if compiled:
        pipeline.unet = torch.compile(pipeline.unet)
    return pipeline


def draw_once(model: Model, kind: str, steps: int, batch: int, half: bool) -> None:
    """Load and draw, for a process whose memory is measured."""
    draw(prepared(model), kind, steps, batch, half)


def main(
    model: Model = "sd21-small",
    steps: int = 50,
    batch: int = 1,
    rounds: int = 5,
    half: Annotated[bool, typer.Option("--half", help="Compute in bf16.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the UNet.")] = False,
    naive: Annotated[bool, typer.Option(help="Measure the naive baseline too.")] = True,
    batches: Annotated[str, typer.Option(help="Batch sizes to compare, for example 1,2,4.")] = "",
) -> None:
    """Measure guided sampling against plain sampling of the same model, side by side."""
    kinds = [PLAIN, GUIDED, *([NAIVE] if naive else [])]
    print(machine())
    setting = f"{model}, {steps} steps, {'bf16' if half else 'float32'}"
    pipeline = prepared(model, compiled)
    seconds = medians(drawing(pipeline, kinds, steps, batch, half), rounds)
    show(f"{setting}, batch {batch}: medians of {rounds}", seconds, "seconds")
    for count in [int(count) for count in batches.split(",") if count]:
        seconds = medians(drawing(pipeline, [PLAIN, GUIDED], steps, count, half), rounds)
        rates = {kind: count / taken for kind, taken in seconds.items()}
        show(f"{setting}, batch {count}: medians of {rounds}", rates, "images a second")
    del pipeline
    # Memory does not grow with the steps: two, the first of them guided, show all of it.
    peaks = {kind: peak_memory(draw_once, model, kind, 2, batch, half) for kind in kinds}
    show(f"{model}, batch {batch}: peak of a process", peaks, "MiB")


if __name__ == "__main__":
    typer.run(main)
