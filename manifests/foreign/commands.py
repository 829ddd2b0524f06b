"""The command on samples of other generators, which stands in the group `import`.

Heavy imports stand inside it, so that `--help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from didgen.manifests.errors import printable
from didgen.manifests.next_step import NextStep, then
from didgen.manifests.options import DryRun, folder
from didgen.manifests.progress import terminal_progress

if TYPE_CHECKING:
    from didgen.manifests.recipes.synthetic import SyntheticRecipe
    from didgen.manifests.runs.order import Order


def import_synthetic(
    images: Annotated[
        Path, typer.Argument(help="Folder of the samples of another generator.", parser=folder)
    ],
    source: Annotated[
        Path,
        typer.Option(
            help="Source manifest whose held-out images no sample may nearly be.", parser=folder
        ),
    ],
    licence: Annotated[str, typer.Option(help="Licence of the samples, an SPDX id or text.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.", parser=folder)],
    labels: Annotated[
        Path | None, typer.Option(help="CSV with image, label.", parser=folder)
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks named like images.", parser=folder)
    ] = None,
    generator: Annotated[str | None, typer.Option(help="What made them, in words.")] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 256,
    dry_run: DryRun = False,
) -> NextStep:
    """Take samples of any other generator in as a run, so that benchmarks can compare it.

    Samples that are nearly held-out images of the source are left out and counted. What such a
    generator was trained on is not known, so the scope of its run is "unknown".
    Example: didgen import synthetic gan --labels gan.csv --source runs/isic2018 --licence CC-BY-4.0
    --out runs/gan
    """
    from didgen.manifests.recipes.synthetic import SyntheticRecipe

    recipe = SyntheticRecipe(
        images=images,
        source=source,
        licence=licence,
        labels=labels,
        masks=masks,
        generator=generator,
        shard_size=shard_size,
    )
    return _import(recipe, None if dry_run else out)


def resume_synthetic(order: "Order", directory: Path) -> NextStep:
    """Go on with a run of another generator's samples."""
    from didgen.manifests.recipes.synthetic import SyntheticRecipe

    return _import(order.recipe_as(SyntheticRecipe, directory), directory)


def _import(recipe: "SyntheticRecipe", out: Path | None) -> NextStep:
    """Say what was found, and take it in where there is a folder for it."""
    from didgen.manifests.foreign.foreign_run import import_foreign, prepare_foreign

    with terminal_progress("reading") as advance:
        job = prepare_foreign(recipe, progress=advance)
    for sentence in job.found.notes:
        print(printable(sentence))
    for what, said in job.summary().items():
        print(f"{what}: {printable(said)}")
    if out is not None:
        with terminal_progress("packing") as advance:
            manifest = import_foreign(job, out, progress=advance)
        totals = manifest.totals
        print(f"{totals.samples} samples in {totals.shards} shards are in {out}.")
        return then("verify", out)
    return None
