"""Guided pairs against plain images: seconds, peak memory, images a second by batch, and masks.

    python -m benchmarks.sampling --model sd21-small
    python -m benchmarks.sampling --source runs/isic2018 --batch 8 --pairs 24 --clock processor

With a source, the bundled model draws layouts that it has not seen, by every guidance in turn: what
each takes, and how its masks fit. Variants differ in the guidance alone.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from rich.console import Console

from benchmarks.ablation import Drawn, means, shown
from benchmarks.heldout import held_out
from benchmarks.measure import machine, medians, peak_memory, processor, show, wall
from benchmarks.models import PROMPT, Model, disc, load
from benchmarks.naive import draw_naively
from didgen.augment.diffusion.images import load_mask
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline, LesionPairs
from didgen.augment.diffusion.pipeline import draw as draw_by_recipe
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.augment.prompts.prompt import compose
from didgen.downstream.stats.bootstrap import bootstrap_mean
from didgen.manifests.provenance.models import trained_on
from didgen.manifests.recipes.sampling import Guidance, Sampling
from didgen.manifests.sources.records import SourceManifest, SourceRecord

PLAIN, NAIVE = "plain CFG", "guided, naive capture"

GUIDED: dict[str, dict[str, Any]] = {
    "guided": {},
    "guided, every 2nd step": {"every": 2},
    "guided after the step": {"update": "after"},
    "guided after every 2nd": {"update": "after", "every": 2},
}
"""Kinds of guidance by the fields that they change; the first is that of Eq. 6."""

Format = Literal["float32", "autocast", "weights"]
"""Float32, bf16 by autocast, or weights in bf16."""

CLOCKS = {"wall": wall, "processor": processor}


def draw(
    pipeline: LesionPairPipeline, kind: str, steps: int, batch: int, autocast: bool = False
) -> None:
    """Draw one batch of a kind: images alone, pairs, or pairs by the naive baseline."""
    generator = [torch.Generator().manual_seed(seed) for seed in range(batch)]
    prompts = [PROMPT] * batch
    with torch.autocast(pipeline.device.type, torch.bfloat16, enabled=autocast):
        if kind == NAIVE:
            draw_naively(pipeline, prompts, disc(batch), steps, generator)
            return
        layouts = None if kind == PLAIN else disc(batch)
        guidance = Guidance.model_validate(GUIDED.get(kind, {}))
        call: dict[str, Any] = {"num_inference_steps": steps, "generator": generator}
        pipeline(prompts, layouts, guidance=guidance, **call)


def prepared(model: Model, form: Format = "float32", compiled: bool = False) -> LesionPairPipeline:
    """A pipeline with DDIM, so that a step is one pass through the UNet."""
    pipeline = load(model)
    pipeline.scheduler = scheduler_of(pipeline, "ddim")
    if form == "weights":
        pipeline.to(torch.bfloat16)
    if compiled:
        pipeline.unet.compile()
    return pipeline


def draw_once(model: Model, form: Format, kind: str, batch: int) -> None:
    """Load and draw two steps, for a process whose memory is measured.

    It does not grow with the steps: two, the first of them guided, show all of it.
    """
    draw(prepared(model, form), kind, 2, batch, form == "autocast")


def by_eta(etas: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Kinds of guidance, each at each eta."""
    return {
        f"{kind}, eta {eta:g}": fields | {"eta": eta}
        for kind, fields in GUIDED.items()
        for eta in etas
    }


def fits(
    model: Path | str,
    source: Path,
    sampling: Sampling,
    guided: Mapping[str, Mapping[str, Any]],
    pairs: int,
    clock: Callable[[], float],
) -> dict[str, dict[str, float]]:
    """Seconds a sample of plain images and of each guidance, and how the masks of these fit.

    The first guidance is the one that the others are compared with.
    """
    manifest = SourceManifest.read(source)
    trained_on(str(model)).check(f"The model {model}", source, manifest)
    records, pipeline = held_out(manifest, pairs), load_pipeline(str(model))
    masks = torch.stack([load_mask(manifest, one, pipeline.image_size) for one in records])
    kinds: dict[str, list[float]] = {kind: [] for kind in (PLAIN, *guided)}
    scores: dict[str, list[dict[str, float]]] = {kind: [] for kind in guided}
    for first in range(0, len(records), sampling.batch_size):
        part = slice(first, first + sampling.batch_size)
        for kind, seconds in kinds.items():
            changed = sampling.guidance.model_copy(update=guided.get(kind, {}))
            asked = sampling.model_copy(update={"guidance": changed})
            layouts = None if kind == PLAIN else masks[part]
            begin = clock()
            drawn = one_batch(pipeline, records[part], first, asked, layouts)
            seconds.append(clock() - begin)
            if layouts is not None:
                scores[kind] += scores_of(drawn, layouts)
    rows = {PLAIN: {"seconds": sum(kinds[PLAIN]) / len(records)}}
    for kind in guided:
        rows[kind] = {"seconds": sum(kinds[kind]) / len(records)} | means(scores[kind])
        rows[kind] |= against(scores[kind], scores[next(iter(guided))])
    for row in rows.values():
        row["ratio"] = row["seconds"] / rows[PLAIN]["seconds"]
    return rows


def one_batch(
    pipeline: LesionPairPipeline,
    records: Sequence[SourceRecord],
    first: int,
    sampling: Sampling,
    layouts: torch.Tensor | None,
) -> LesionPairs:
    """Draw layouts by their captions; a sample's seed is its place among all."""
    prompts = [compose(record.caption) for record in records]
    seeds = range(first, first + len(records))
    return draw_by_recipe(pipeline, prompts, seeds, sampling, layouts)


def scores_of(drawn: LesionPairs, layouts: torch.Tensor) -> list[dict[str, float]]:
    """What the gates see of each pair of a batch."""
    found = []
    for place, layout in enumerate(layouts):
        assert drawn.contrast is not None and drawn.separability is not None
        part = slice(place, place + 1)
        figures_of = (drawn.contrast[part], drawn.separability[part])
        alone = LesionPairs(drawn.images[part], drawn.masks[part], None, *figures_of)
        found += Drawn(alone, layout[0].numpy() > 0.5).scores()
    return found


def against(
    scores: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """The mean difference of IoU to Eq. 6 on the same layouts and seeds, with its interval."""
    pairs = zip(scores, base, strict=True)
    differences = np.array([one["layout_iou"] - other["layout_iou"] for one, other in pairs])
    low, high = bootstrap_mean(differences) or (float("nan"),) * 2
    return {"IoU difference": float(differences.mean()), "low": low, "high": high}


def main(
    model: Model = "sd21-small",
    steps: int = 50,
    batch: int = 1,
    rounds: int = 5,
    form: Annotated[Format, typer.Option("--format")] = "float32",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the UNet.")] = False,
    naive: Annotated[bool, typer.Option(help="Measure the naive baseline too.")] = True,
    cheaper: Annotated[bool, typer.Option(help="Measure cheaper guidances too.")] = False,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too.")] = True,
    batches: Annotated[str, typer.Option(help="Batch sizes to compare, for example 1,2,4.")] = "",
    clock: Annotated[Literal["wall", "processor"], typer.Option()] = "wall",
    source: Annotated[Path | None, typer.Option(help="Layouts and captions to fit.")] = None,
    pairs: Annotated[int, typer.Option(help="Layouts of the source.")] = 24,
    etas: Annotated[str, typer.Option(help="With a source: those of each guidance.")] = "80",
) -> None:
    """Measure guided sampling against plain sampling of the same model, side by side."""
    print(machine())
    time = CLOCKS[clock]
    if source is not None:
        sampling = Sampling(steps=steps, cfg=3.0, batch_size=batch)
        guided = by_eta([float(eta) for eta in etas.split(",")])
        rows = fits("mini", source, sampling, guided, pairs, time)
        title = (
            f"mini, {pairs} layouts, {steps} steps, batches of {batch}; {clock} seconds a sample"
        )
        Console(width=160).print(shown(title, "", rows))
        return
    kinds = [PLAIN, *(GUIDED if cheaper else ["guided"]), *([NAIVE] if naive else [])]
    setting, autocast = f"{model}, {steps} steps, {form}", form == "autocast"
    pipeline = prepared(model, form, compiled)

    def drawing(kinds: list[str], count: int) -> dict[str, Callable[[], None]]:
        """What `medians` lets take turns."""
        return {kind: partial(draw, pipeline, kind, steps, count, autocast) for kind in kinds}

    seconds = medians(drawing(kinds, batch), rounds, time)
    show(f"{setting}, batch {batch}: medians of {rounds}", seconds, f"{clock} seconds")
    for count in [int(count) for count in batches.split(",") if count]:
        seconds = medians(drawing([PLAIN, "guided"], count), rounds, time)
        rates = {kind: count / taken for kind, taken in seconds.items()}
        show(f"{setting}, batch {count}: medians of {rounds}", rates, "images a second")
    if memory:
        peaks = {kind: peak_memory(draw_once, model, form, kind, batch) for kind in kinds}
        show(f"{model}, batch {batch}: peak of a process", peaks, "MiB")


if __name__ == "__main__":
    typer.run(main)
