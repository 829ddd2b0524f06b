"""Real images that went through a model's autoencoder: the best that its samples could be.

    python -m benchmarks.restoration mini runs/isic2018 --weights weights/lite0.safetensors

Notable choices:
- The figures are those of `didgen quality`, by its functions: a sample's distance from real images
  has a part that no UNet can take away, and this is it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine
from didgen.augment.diffusion.autoencoder import decode, encode, levels
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.downstream.metrics.generative import fid, matched
from didgen.downstream.quality.embed import Collection, embed, real_collection
from didgen.downstream.quality.extractors import batches, find_extractor
from didgen.downstream.quality.fidelity import class_fidelity
from didgen.downstream.quality.judge import read_judge
from didgen.manifests.images import encoded
from didgen.manifests.provenance.models import trained_on
from didgen.manifests.sources.records import SourceManifest


def restored(collection: Collection, pipeline: LesionPairPipeline) -> Collection:
    """The same images, each encoded and decoded at the model's size."""

    def files(places: Sequence[int]) -> Iterator[tuple[bytes, Path]]:
        keys = iter(collection.keys[place] for place in places)
        for batch in batches(collection.squares(places, pipeline.image_size)):
            for image in restore(batch, pipeline).movedim(1, -1).numpy():
                yield encoded(image, "PNG"), Path(next(keys))

    return replace(collection, files=files)


@torch.no_grad()
def restore(images: torch.Tensor, pipeline: LesionPairPipeline) -> torch.Tensor:
    """Encode and decode images (B, 3, S, S) uint8; such images again."""
    return levels(decode(pipeline.vae, encode(pipeline.vae, images.float() / 127.5 - 1)))


def main(
    model: Annotated[str, typer.Argument(help="`mini`, a folder or a hub id.")],
    source: Annotated[Path, typer.Argument(help="Folder of a source manifest.")],
    weights: Annotated[str, typer.Option(help="The extractor's, a safetensors file.")],
    extractor: Annotated[str, typer.Option(help="As of quality.")] = "timm:tf_efficientnet_lite0/2",
    size: Annotated[int, typer.Option(min=16, help="Side of the extractor's images.")] = 128,
    judge: Annotated[Path | None, typer.Option(help="Folder of a classifier's training.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Take one image of so many.")] = 1,
) -> None:
    """Print how far restored images are from real ones, and whether a judge knows their classes."""
    print(machine())
    manifest = SourceManifest.read(source)
    trained_on(model).check(f"The model {model}", source, manifest)
    held_out = [*manifest.select(split="val"), *manifest.select(split="test")]
    real = real_collection(manifest, held_out[::every])
    train = real_collection(manifest, manifest.select(split="train")[::every])
    test = real_collection(manifest, manifest.select(split="test"))
    pipeline = load_pipeline(model)
    network = find_extractor(extractor, weights)
    asked = read_judge(judge, manifest) if judge else None
    wanted = embed(real, network, size).features
    ours, theirs = matched(train.labels, real.labels, seed=0)
    table = Table("images", "FID without bias", "class fidelity", title=f"{model}, {extractor}")
    for name in ("as they are", "restored"):
        made, judged = train, test
        if name == "restored":
            made, judged = restored(train, pipeline), restored(test, pipeline)
        distance = fid(embed(made, network, size).features[ours], wanted[theirs])["fid_inf"].value
        fidelity = next(class_fidelity(asked, judged))["value"] if asked else None
        table.add_row(name, *("-" if v is None else f"{v:.3f}" for v in (distance, fidelity)))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
