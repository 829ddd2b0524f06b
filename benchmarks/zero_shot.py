"""What a model has learned of the classes: it classifies real images, without a further network.

    python -m benchmarks.zero_shot mini runs/isic2018

The class is the one whose prompt denoises the image best (Li et al., ICCV 2023). Beside class
fidelity, which samples also earn by the colours that their captions name, this is what the name of
a class alone is worth: all prompts of an image differ in it and in nothing else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.heldout import prediction_errors
from benchmarks.measure import machine
from didgen.augment.conditioning.p_tokens import tokenize
from didgen.augment.diffusion.autoencoder import encode
from didgen.augment.diffusion.images import load_pixels
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.prompts.prompt import compose, diagnosis
from didgen.augment.prompts.sentence import Free, parse, render
from didgen.downstream.metrics.classification import balanced_accuracy
from didgen.manifests.provenance.models import trained_on
from didgen.manifests.sources.records import SourceManifest, SourceRecord

TIMESTEPS = (500, 600, 700, 800, 900)
"""Of 1000: those at which the samples of the bundled model are told apart best."""

BATCH = 4


@torch.no_grad()
def errors(
    pipeline: LesionPairPipeline,
    latents: Tensor,
    prompts: Sequence[Sequence[str]],
    seed: int,
    timesteps: Sequence[int] = TIMESTEPS,
) -> Tensor:
    """Mean error of the prediction by image and class, (B, C); less is likelier.

    latents: (B, 4, h, w), scaled; prompts: C for each image. All classes of an image meet the same
    noise, one draw from `seed` for each timestep.
    """
    classes = len(prompts[0])
    input_ids = tokenize(pipeline.tokenizer, [prompt for row in prompts for prompt in row])
    context = pipeline.text_encoder(input_ids)[0]
    repeated = latents.repeat_interleave(classes, 0)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(latents), classes)
    for timestep in timesteps:
        drawn = torch.randn(latents.shape, generator=generator).repeat_interleave(classes, 0)
        times = torch.full((len(repeated),), timestep)
        total += prediction_errors(pipeline, repeated, drawn, times, context).view_as(total)
    return total / len(timesteps)


def prompts_of(caption: str, classes: Sequence[str], *, named_only: bool) -> list[str]:
    """The prompt of a caption for each class: the diagnosis replaced, or nothing but the diagnosis.

    caption: one that `sentence.render` wrote; another is a ValueError.
    """
    attributes = parse(caption)
    if isinstance(attributes, Free):
        raise ValueError(f"{caption!r} is no caption of `didgen caption`: {attributes.reason}")
    names = [diagnosis(label) for label in classes]
    if named_only:
        return [compose(f"{name}.") for name in names]
    return [compose(render(attributes.model_copy(update={"diagnosis": name}))) for name in names]


def balanced(source: SourceManifest, classes: Sequence[str], count: int) -> list[SourceRecord]:
    """The first `count` held-out records of each class, of those with a caption that is parsed."""
    found: list[SourceRecord] = []
    for label in classes:
        named = [r for r in source.records if r.split != "train" and r.label == label]
        found += [record for record in named if not isinstance(parse(record.caption or ""), Free)][
            :count
        ]
    return found


@torch.no_grad()
def encoded(
    pipeline: LesionPairPipeline, source: SourceManifest, records: Sequence[SourceRecord]
) -> Tensor:
    """The latents of records, (N, 4, h, w), scaled."""
    images = (load_pixels(source, record, pipeline.image_size) for record in records)
    return torch.cat([encode(pipeline.vae, image[None]) for image in images])


def accuracy(
    pipeline: LesionPairPipeline,
    latents: Tensor,
    records: Sequence[SourceRecord],
    classes: Sequence[str],
    *,
    named_only: bool,
) -> float:
    """Balanced accuracy of the model as a classifier of these records, in [0, 1].

    latents: those of the records, (N, 4, h, w).
    """
    found: list[NDArray[np.int64]] = []
    for first in range(0, len(records), BATCH):
        part = slice(first, first + BATCH)
        captions = [record.caption or "" for record in records[part]]
        prompts = [prompts_of(caption, classes, named_only=named_only) for caption in captions]
        found.append(errors(pipeline, latents[part], prompts, first).argmin(1).numpy())
    labels = np.array([classes.index(record.label or "") for record in records])
    return balanced_accuracy(np.concatenate(found) == labels, labels)


def main(
    model: Annotated[str, typer.Argument(help="`mini`, a folder or a hub id.")],
    source: Annotated[Path, typer.Argument(help="Folder of a captioned source manifest.")],
    count: Annotated[int, typer.Option(min=1, help="Images of each class.")] = 20,
    exclude: Annotated[list[str], typer.Option(help="Classes left out.")] = ["NV"],  # noqa: B006
) -> None:
    """Print how often a model knows the class of held-out images."""
    print(machine())
    manifest = SourceManifest.read(source)
    trained_on(model).check(f"The model {model}", source, manifest)
    pipeline = load_pipeline(model)
    classes = sorted({r.label for r in manifest.records if r.label} - {*exclude})
    records = balanced(manifest, classes, count)
    latents = encoded(pipeline, manifest, records)
    table = Table("prompt", "balanced accuracy", title=f"{model}, {len(records)} held-out images")
    for name, named_only in (("the name in its caption", False), ("the name alone", True)):
        figure = accuracy(pipeline, latents, records, classes, named_only=named_only)
        table.add_row(name, f"{figure:.3f}")
    table.add_row("chance", f"{1 / len(classes):.3f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
