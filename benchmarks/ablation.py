"""The ablations of the paper's Section 3.4: L_CA and L_SA on and off, and one mask for many images.

    python -m benchmarks.ablation runs/isic2018 --lpips weights/lpips.safetensors

The paper has an LPIPS of masks of 0.403 with L_CA and of 0.172 without. It does not say of which
pairs: here these are masks of different layouts, which were read at the same noise. Masks that
follow their layouts differ from each other; those that do not are alike.

Notable choices:
- Layouts are masks of validation and test images, with those images' captions: nothing that the
  model has seen.
- Variants differ in the guidance alone: layouts, prompts and seeds are the same.
- Diversity is judged among images of one layout and prompt. In the first table they differ in
  their noise alone, in the second in eta and range of the guidance alone.
- `gates` are the masks that the default gates would stop, `no levels` those of attention in which
  Otsu's threshold finds no two levels.
- Each figure has a 95 % interval over layouts; that of distances between layouts is a jackknife's,
  since a layout is in many pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial.distance import squareform
from scipy.stats import t as student
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as ms_ssim,
)

from benchmarks.heldout import held_out
from benchmarks.image_distance import ImageDistance, image_distance
from benchmarks.measure import machine
from didgen.augment.diffusion.images import load_mask
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline, LesionPairs, draw
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

RANGES = ((0.0, 0.25), (0.0, 0.5), (0.25, 0.75), (0.0, 1.0))
"""Starts and ends of the guidance, as shares of the steps."""

VARIED = 8
"""Layouts of which many images are drawn by eta and range; the first of all."""


@dataclass(frozen=True)
class Subject:
    """What is drawn from: a model and layouts of a source, and the distance that judges."""

    pipeline: LesionPairPipeline
    source: SourceManifest
    records: Sequence[SourceRecord]
    distance: ImageDistance

    def draw(self, record: SourceRecord, seeds: Iterable[int], sampling: Sampling) -> "Drawn":
        """Draw the layout of a record by its caption, once a seed."""
        numbers = list(seeds)
        layout = load_mask(self.source, record, self.pipeline.image_size)
        prompts = [compose(record.caption)] * len(numbers)
        layouts = layout.expand(len(numbers), -1, -1, -1)
        pairs = draw(self.pipeline, prompts, numbers, sampling, layouts)
        return Drawn(pairs, layout[0].numpy() > 0.5)


@dataclass(frozen=True)
class Drawn:
    """Pairs of one layout (H, W)."""

    pairs: LesionPairs
    layout: NDArray[np.bool_]

    def scores(self) -> list[dict[str, float]]:
        """What the gates see of each."""
        pairs = self.pairs
        assert pairs.contrast is not None and pairs.separability is not None
        return [
            measure(image, pairs.masks[place], self.layout)
            | {
                "attention_contrast": float(pairs.contrast[place]),
                "separability": float(pairs.separability[place]),
            }
            for place, image in enumerate(pairs.images)
        ]


def diversity(images: NDArray[np.uint8]) -> float:
    """Mean of 1 - MS-SSIM over all pairs of images (N, H, W, 3), N > 1; more is more diverse."""
    pixels = torch.from_numpy(images).movedim(-1, 1).float() / 255
    first, second = zip(*combinations(range(len(pixels)), 2), strict=True)
    similar = ms_ssim(pixels[list(first)], pixels[list(second)], data_range=1.0)
    return 1 - float(similar)


@dataclass(frozen=True)
class Figure:
    """A mean over layouts, and half the width of its 95 % interval."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Student's interval of the mean of N > 1 values."""
        error = float(np.std(values, ddof=1)) / len(values) ** 0.5
        return cls(float(np.mean(values)), float(student.ppf(0.975, len(values) - 1)) * error)

    @classmethod
    def of_pairs(cls, distances: NDArray[np.float64]) -> "Figure":
        """The mean of the distances of all pairs of N > 2 layouts, and its jackknife's interval."""
        sums, count = squareform(distances).sum(1), len(squareform(distances))
        without = (distances.sum() - sums) / ((count - 1) * (count - 2) / 2)
        return cls.of([*(count * distances.mean() - (count - 1) * without)])

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.half:.3f}"


Figures = dict[str, Figure]


def means(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """How the masks of some pairs fit their layouts, and how many fail."""
    gates = Gates()
    return {
        "layout_iou": float(np.mean([one["layout_iou"] for one in scores])),
        "gates": float(np.mean([fault(one, gates) is not None for one in scores])),
        "no levels": float(np.mean([one["separability"] == 0 for one in scores])),
        "separability": float(np.mean([one["separability"] for one in scores])),
        "components": float(np.mean([one["components"] for one in scores])),
    }


def figures(by_layout: Iterable[Sequence[dict[str, float]]]) -> Figures:
    """The means over layouts of those of each layout's pairs."""
    rows = [means(scores) for scores in by_layout]
    return {name: Figure.of([row[name] for row in rows]) for name in rows[0]}


def draw_variant(subject: Subject, seeds: int, sampling: Sampling) -> Figures:
    """Draw each layout once a seed; how the masks fit, and how images and masks differ.

    `masks apart` is the distance of the masks of different layouts at the same seed, `images apart`
    that of the images of one layout, and `diversity` their 1 - MS-SSIM.
    """
    drawn = [subject.draw(record, range(seeds), sampling) for record in subject.records]
    masks = np.stack([one.pairs.masks for one in drawn])
    distance = subject.distance
    apart = np.mean([distance.of_masks(masks[:, number]) for number in range(seeds)], axis=0)
    return figures(one.scores() for one in drawn) | {
        "masks apart": Figure.of_pairs(apart),
        **alike([one.pairs.images for one in drawn], distance),
    }


def alike(images: Iterable[NDArray[np.uint8]], distance: ImageDistance) -> Figures:
    """How the images (N, H, W, 3) of each layout differ."""
    both = [(float(distance.pairs(of_one).mean()), diversity(of_one)) for of_one in images]
    apart, diverse = zip(*both, strict=True)
    return {"images apart": Figure.of(apart), "diversity": Figure.of(diverse)}


def draw_varied(subject: Subject, sampling: Sampling, etas: Sequence[float]) -> dict[str, Figures]:
    """Draw each layout with one noise by every eta and range; figures of each choice.

    The last row is that of all choices, with the distances among the images of one layout.
    """
    choices: dict[str, list[Drawn]] = {}
    for eta, (start, until) in product(etas, RANGES):
        changed = {"eta": eta, "start": start, "until": until}
        guided = {"guidance": sampling.guidance.model_copy(update=changed)}
        asked = sampling.model_copy(update=guided)
        choices[f"eta {eta:g}, {start:.0%} to {until:.0%} of the steps"] = [
            subject.draw(record, [place], asked) for place, record in enumerate(subject.records)
        ]
    of_layouts = [*zip(*choices.values(), strict=True)]
    scores = ([score for one in of_one for score in one.scores()] for of_one in of_layouts)
    images = (np.concatenate([one.pairs.images for one in of_one]) for of_one in of_layouts)
    rows = {name: figures(one.scores() for one in drawn) for name, drawn in choices.items()}
    return rows | {"all of them": figures(scores) | alike(images, subject.distance)}


def shown(title: str, first: str, rows: Mapping[str, Mapping[str, Figure | float]]) -> Table:
    """Figures as a table; what a row has none of stays empty."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table(first, *names, title=title)
    for name, row in rows.items():
        cells = (row.get(one, "") for one in names)
        table.add_row(name, *(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells))
    return table


def main(
    source: Annotated[Path, typer.Argument(help="Folder of a captioned source manifest.")],
    model: Annotated[str, typer.Option(help="`mini`, a folder or a hub id.")] = "mini",
    masks: Annotated[int, typer.Option(min=3, help="Layouts.")] = 24,
    seeds: Annotated[int, typer.Option(min=2, help="Images of each layout.")] = 4,
    steps: Annotated[int, typer.Option(min=2)] = 20,
    cfg: Annotated[float, typer.Option(min=1)] = 3.0,
    eta: Annotated[float, typer.Option(min=0)] = 80.0,
    etas: Annotated[str, typer.Option(help="Those of the second table.")] = "20,80,160",
    weights: Annotated[
        Path | None, typer.Option("--lpips", help="Weights of LPIPS; else a stand-in judges.")
    ] = None,
) -> None:
    """Draw the same layouts with each variant of the guidance, and compare."""
    print(machine())
    manifest = SourceManifest.read(source)
    trained_on(model).check(f"The model {model}", source, manifest)
    records, distance = held_out(manifest, masks), image_distance(weights)
    subject = Subject(load_pipeline(model), manifest, records, distance)
    print(f"masks and images apart: {distance.name}")
    rows = {}
    for name, changed in VARIANTS.items():
        fields: dict[str, Any] = {"eta": eta} | changed
        sampling = Sampling(steps=steps, cfg=cfg, guidance=Guidance.model_validate(fields))
        rows[name] = draw_variant(subject, seeds, sampling)
    title = f"{model}: {len(records)} layouts x {seeds} seeds, {steps} steps"
    screen = Console(width=150)
    screen.print(shown(title, "guidance", rows))
    few = Subject(subject.pipeline, manifest, records[:VARIED], distance)
    lengths = [float(part) for part in etas.split(",")]
    varied = draw_varied(few, Sampling(steps=steps, cfg=cfg), lengths)
    title = f"{model}: {len(few.records)} layouts, each with one noise, {steps} steps"
    screen.print(shown(title, "guidance by", varied))


if __name__ == "__main__":
    typer.run(main)
