"""The command `quality`; it parses and prints, no more.

Heavy imports stand inside it, so that `--help` answers at once.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didgen.manifests.choices import Config, Part
from didgen.manifests.next_step import NextStep, then
from didgen.manifests.options import DryRun, folder, needs_out, place
from didgen.manifests.progress import announce, terminal_progress, time_in_words

if TYPE_CHECKING:
    from didgen.downstream.quality.assess import QualityJob
    from didgen.downstream.quality.recipe import QualityRecipe
    from didgen.manifests.runs.order import Order

Real = Annotated[
    Path | None, typer.Option("--real", help="Folder of the source manifest.", parser=folder)
]
Synthetic = Annotated[
    Path | None,
    typer.Option("--synthetic", help="Folder of a run, or its URL in a store.", parser=place),
]
ExtractorName = Annotated[
    str | None,
    typer.Option(
        help="Network of the features: inception, timm:NAME, or an earlier layer of either as "
        "inception/768, timm:NAME/4."
    ),
]
ExtractorWeights = Annotated[
    str | None,
    typer.Option(
        help="Its weights: a safetensors file, which inception needs; for timm also pretrained, "
        "reachable or none."
    ),
]
Side = Annotated[
    int | None,
    typer.Option(min=32, max=2048, help="Side of the images in pixels; else the network's."),
]
Against = Annotated[
    Part | None,
    typer.Option(help="Real images to compare with; the others make the real baseline."),
]
Assessed = Annotated[
    Config | None,
    typer.Option("--config", help="What to assess; without it, all that the run holds."),
]
Lpips = Annotated[
    Path | None,
    typer.Option("--lpips", help="LPIPS's weights, a safetensors file.", parser=folder),
]
ComparedPairs = Annotated[
    int | None,
    typer.Option("--pairs", min=1, help="Pairs of images that MS-SSIM and LPIPS compare."),
]
Planted = Annotated[
    int | None, typer.Option(min=1, help="Training images that are changed and looked for again.")
]
Judges = Annotated[
    list[Path] | None,
    typer.Option(
        "--judge",
        help="Folder of a training on real images, OUT/runs/NETWORK/original/seed-0 of `classify` "
        "or `segment`, that is asked about classes or masks; may be repeated.",
        parser=folder,
    ),
]


def quality(
    recipe: Annotated[
        str | None, typer.Argument(help="Recipe file, or name of a bundled one.")
    ] = None,
    real: Real = None,
    synthetic: Synthetic = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for figures, copies and pictures.", parser=folder),
    ] = None,
    extractor: ExtractorName = None,
    weights: ExtractorWeights = None,
    size: Side = None,
    against: Against = None,
    config: Assessed = None,
    lpips: Lpips = None,
    pairs: ComparedPairs = None,
    planted: Planted = None,
    judges: Judges = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="Seed of every draw.")
    ] = None,
    write_scores: Annotated[
        bool,
        typer.Option(
            "--write-scores", help="Put each sample's score into the run, for --drop-copies."
        ),
    ] = False,
    dry_run: DryRun = False,
) -> NextStep:
    """Measure how near a run's images are to real ones, and which are copies of training images.

    FID, KID, precision, recall, density, coverage, MS-SSIM and LPIPS, each beside what real images
    get; what judges say of classes and masks; a table of copies, and a sheet of the closest pairs.
    A recipe says what the options say; an option that is given counts instead of its field.
    Example: didgen quality --real runs/isic2018 --synthetic runs/mine --out runs/quality
    --weights weights/inception.safetensors
    """
    given = {
        "real": real,
        "synthetic": synthetic,
        "extractor": extractor,
        "weights": weights,
        "size": size,
        "against": against,
        "config": config,
        "lpips": lpips,
        "pairs": pairs,
        "planted": planted,
        "judges": judges or None,
        "seed": seed,
    }
    return _quality(
        recipe,
        {name: value for name, value in given.items() if value is not None},
        out,
        scores=write_scores,
        dry_run=dry_run,
    )


def _quality(
    name: str | None, given: dict[str, Any], out: Path | None, *, scores: bool, dry_run: bool
) -> NextStep:
    """Assess what a recipe and the options say, and print what came of it."""
    if name is None and (missing := [one for one in ("real", "synthetic") if one not in given]):
        raise typer.BadParameter(
            "it is needed where there is no recipe", param_hint=f"--{missing[0]}"
        )
    if out is None and not dry_run:
        raise needs_out("an assessment")
    from didgen.downstream.quality.recipe import QualityRecipe
    from didgen.manifests.recipes.reading import read_recipe

    recipe = QualityRecipe(**given) if name is None else read_recipe(name, QualityRecipe, given)
    return _assess(recipe, None if dry_run else out, scores=scores)


def resume_quality(order: "Order", directory: Path) -> NextStep:
    """Assess anew what was stopped: the network looks at all images again."""
    from didgen.downstream.quality.recipe import QualityRecipe

    recipe = order.recipe_as(QualityRecipe, directory)
    return _assess(recipe, directory, scores=bool(order.options.get("scores")))


def _assess(recipe: "QualityRecipe", out: Path | None, *, scores: bool) -> NextStep:
    """Say what is assessed, and assess it where there is a folder for the figures."""
    announce("PyTorch and timm")
    from didgen.downstream.quality.assess_runs import assess_runs, prepare_runs
    from didgen.manifests.runs.order import keep_order

    with terminal_progress("checking") as advance:
        jobs = prepare_runs(recipe, progress=advance)
    for job in jobs.values():
        _print_assessed(job)
    if out is None:
        _print_estimate(jobs.values())
        return None
    keep_order(out, "quality", recipe.model_dump(mode="json"), scores=scores)
    with terminal_progress("looking") as advance:
        records = assess_runs(jobs, out, scores=scores, progress=advance)
    for name, record in records.items():
        copies, place = record["copies"], out / name
        samples = f"samples of {name}" if name else "samples"
        print(f"{copies['count']} of {copies['n']} {samples} are copies of training images.")
        if scores:
            print(f"The scores are in the sidecars of {record['synthetic']}.")
        print(f"The figures are in {place / 'quality.md'} and {place / 'quality.json'}.")
    if len(records) > 1:
        print(f"They stand side by side in {out / 'runs.md'}.")
    return then("report", out)


def _print_estimate(jobs: "Iterable[QualityJob]") -> None:
    """Print how long the extractor takes, by a pass through it."""
    import torch

    from didgen.downstream.networks.pace import IMAGES, pass_seconds

    seconds = 0.0
    for job in jobs:
        pixels = torch.zeros(IMAGES, 3, job.size, job.size, dtype=torch.uint8)
        seconds += job.passes * pass_seconds(job.extractor, pixels)
    print(
        f"Estimated from a pass through the extractor on this machine: {time_in_words(seconds)}; "
        "LPIPS and judges are not in it."
    )


def _print_assessed(job: "QualityJob") -> None:
    """Print which network looks at how many images of which class."""
    from didgen.manifests.provenance.models import unlisted_run

    print(
        f"extractor: {job.recipe.extractor}, {job.extractor.dimension} features at {job.size} px, "
        f"{job.extractor.weights}"
    )
    for name, counts in job.counts().items():
        by_class = ", ".join(f"{n} {label or 'without a class'}" for label, n in counts.items())
        print(f"{name}: {sum(counts.values())} images ({by_class})")
    if sentence := unlisted_run(job.recipe.synthetic):
        print(sentence)
