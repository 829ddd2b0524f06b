"""The two terms of Eq. 6, L_CA and L_SA, on and off: same layouts, prompts and seeds.

    python -m benchmarks.ablation runs/isic2018 --masks 12 --seeds 4

Notable choices:
- Layouts are masks of validation and test images, with those images' captions: nothing that the
  model has seen.
- Diversity is judged among images of one layout and prompt, which differ in their noise alone:
  1 - MS-SSIM of each pair, so that more is more diverse.
- A failure of Otsu's threshold is a mask that the default gates would stop.
"""

from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as ms_ssim,
)

from benchmarks.heldout import held_out
from benchmarks.measure import machine
from didgen.augment.diffusion.images import load_mask
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline, draw
from didgen.augment.generation.gates import fault, measure
from didgen.augment.prompts.prompt import compose
from didgen.manifests.provenance.models import trained_on
from didgen.manifests.recipes.augment import Gates
from didgen.manifests.recipes.sampling import Guidance, Sampling
from didgen.manifests.sources.records import SourceManifest, SourceRecord

VARIANTS: dict[str, dict[str, bool]] = {
    "L_CA and L_SA": {},
    "without L_CA": {"cross_attention": False},
    "without L_SA": {"self_attention": False},
    "neither": {"cross_attention": False, "self_attention": False},
}


def diversity(images: NDArray[np.uint8]) -> float:
    """Mean of 1 - MS-SSIM over all pairs of images (N, H, W, 3), N > 1; more is more diverse."""
    pixels = torch.from_numpy(images).movedim(-1, 1).float() / 255
    first, second = zip(*combinations(range(len(pixels)), 2), strict=True)
    similar = ms_ssim(pixels[list(first)], pixels[list(second)], data_range=1.0)
    return 1 - float(similar)


def draw_variant(
    pipeline: LesionPairPipeline,
    source: SourceManifest,
    records: list[SourceRecord],
    seeds: int,
    sampling: Sampling,
) -> dict[str, float]:
    """Draw each record's layout once a seed, and say how the masks fit and the images differ."""
    gates = Gates()
    scores: list[dict[str, float]] = []
    spread: list[float] = []
    for record in records:
        layout = load_mask(source, record, pipeline.image_size)
        drawn = draw(
            pipeline,
            [compose(record.caption)] * seeds,
            range(seeds),
            sampling,
            layout.expand(seeds, -1, -1, -1),
        )
        spread.append(diversity(drawn.images))
        wanted = layout[0].numpy() > 0.5
        scores += [
            measure(image, mask, wanted)
            for image, mask in zip(drawn.images, drawn.masks, strict=True)
        ]
    return {
        "layout_iou": float(np.mean([one["layout_iou"] for one in scores])),
        "failures": float(np.mean([fault(one, gates) is not None for one in scores])),
        "components": float(np.mean([one["components"] for one in scores])),
        "diversity": float(np.mean(spread)),
    }


def main(
    source: Annotated[Path, typer.Argument(help="Folder of a captioned source manifest.")],
    model: Annotated[str, typer.Option(help="`mini`, a folder or a hub id.")] = "mini",
    masks: Annotated[int, typer.Option(min=1, help="Layouts.")] = 12,
    seeds: Annotated[int, typer.Option(min=2, help="Images of each layout.")] = 4,
    steps: Annotated[int, typer.Option(min=2)] = 20,
    cfg: Annotated[float, typer.Option(min=1)] = 3.0,
    eta: Annotated[float, typer.Option(min=0)] = 80.0,
) -> None:
    """Draw the same layouts with each variant of the guidance, and compare."""
    print(machine())
    manifest = SourceManifest.read(source)
    trained_on(model).check(f"The model {model}", source, manifest)
    records = held_out(manifest, masks)
    pipeline = load_pipeline(model)
    table = Table(
        "guidance",
        "IoU with layout",
        "failures",
        "components",
        "diversity",
        title=f"{model}: {len(records)} layouts x {seeds} seeds, {steps} steps",
    )
    for name, changed in VARIANTS.items():
        fields: dict[str, Any] = {"eta": eta} | changed
        sampling = Sampling(steps=steps, cfg=cfg, guidance=Guidance.model_validate(fields))
        figures = draw_variant(pipeline, manifest, records, seeds, sampling)
        table.add_row(name, *(f"{value:.3f}" for value in figures.values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
