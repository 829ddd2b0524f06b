"""The commands that make models and samples: finetune and augment; they parse and print, no more.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didgen.augment.captions.commands import caption as caption
from didgen.augment.captions.commands import prompts as prompts
from didgen.augment.captions.commands import resume_caption
from didgen.augment.starting.commands import init as init
from didgen.manifests.choices import Engine
from didgen.manifests.errors import DidgenError
from didgen.manifests.next_step import NextStep, beside, then
from didgen.manifests.options import (
    DryRun,
    RecipeName,
    RecipeSource,
    complete_recipe,
    folder,
    needs_out,
    place,
)
from didgen.manifests.progress import announce

if TYPE_CHECKING:
    from didgen.augment.annotating.attention_annotator import AttentionAnnotator
    from didgen.augment.generation.part import Part
    from didgen.manifests.recipes.augment import AugmentRecipe
    from didgen.manifests.recipes.training import TrainingRecipe
    from didgen.manifests.runs.order import Order

DEMO = Path("runs/demo")
"""The run of `didgen augment` without a recipe."""

SMALL = 256
"""Side of the images of models that the bundled recipe `mini-own-samples` draws by."""

RecipeOrDemo = Annotated[
    str | None,
    typer.Argument(help="Recipe file, or name of a bundled one.", autocompletion=complete_recipe),
]
RecipeModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="Model in place of the recipe's: mini, a folder, a file or a hub id."
    ),
]


def by_attention(model: str) -> "AttentionAnnotator":
    """What `didgen annotate` draws masks by: the attention of a model."""
    from didgen.augment.annotating.attention_annotator import AttentionAnnotator

    return AttentionAnnotator(model)


def finetune(
    recipe: RecipeName,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for checkpoints, sheets, the model.", parser=folder),
    ] = None,
    source: RecipeSource = None,
    dry_run: DryRun = False,
) -> NextStep:
    """Finetune a model with the region-aware loss, train a small one from nothing, or a rival.

    The recipe's `method` says which; without one it is DiDGen.
    Goes on where a stopped run of the same recipe stopped.
    Runs on several processes under `accelerate launch --multi_gpu`, on CPUs too.
    Example: didgen finetune mini --out runs/mini
    """
    from didgen.manifests.recipes.reading import read_training_recipe, recipe_text

    config = read_training_recipe(recipe, {"source": source} if source else None)
    if dry_run:
        from didgen.augment.finetuning.rehearsal import rehearse

        print(recipe_text(config), end="")
        for sentence in rehearse(config, out):
            print(sentence)
        named = ("--source", source) if source else ()
        return then("finetune", recipe, *named, "--out", out or Path("runs") / Path(recipe).stem)
    if out is None:
        raise needs_out("a training")
    return _finetune(config, out)


def _finetune(config: "TrainingRecipe", out: Path) -> NextStep:
    """Train by a recipe, and say where the model is."""
    from didgen.augment.finetuning.training_images import read_training_images

    # What is wrong with the data is said at once, before the heavy imports.
    read_training_images(config)
    announce("PyTorch and diffusers")
    from didgen.augment.methods.registry import train_model

    model = train_model(config, out)
    print(f"The model is in {model}.")
    if config.method != "didgen" or config.image_size > SMALL:
        return then("report", out)
    made = ("--model", model, "--source", config.source, "--out", beside(out, "samples"))
    return then("augment", "mini-own-samples", *made)


def augment(
    recipe: RecipeOrDemo = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the run, or a URL such as s3://bucket/run; without a recipe, "
            "runs/demo.",
            parser=place,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option("--part", help="Only the shards of part i of N, as i/N from 1/N to N/N."),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(help="Make shards in this process, or on the Ray cluster that is running."),
    ] = "local",
    only: Annotated[
        str | None,
        typer.Option("--only", help="Remake one sample of the run in --out, by its key."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder for the files of the sample of --only.", parser=folder),
    ] = None,
    model: RecipeModel = None,
    source: RecipeSource = None,
    dry_run: DryRun = False,
) -> NextStep:
    """Make class-balanced images and lesion-mask pairs, as shards any training code reads.

    Goes on where a stopped run of the same recipe stopped, and mends what is broken of it.
    Without a recipe: the bundled model and the demo recipe, into runs/demo.
    Several processes and machines may share a run: by --part, by working on the same --out, or by
    --engine ray, a shard a task, with the resources of `cluster` in the recipe.
    Example: didgen augment my-recipe.yaml --out runs/mine
    """
    if recipe is not None and out is None and not dry_run:
        raise typer.BadParameter("a recipe needs the folder of its run", param_hint="--out")
    if (only is None) != (to is None):
        raise typer.BadParameter("--only and --to go together", param_hint="--only")
    instead = _instead(recipe, model, source)
    if only is not None and to is not None:
        if part is not None:
            raise typer.BadParameter("one sample has no parts", param_hint="--part")
        if engine == "ray":
            raise typer.BadParameter("one sample is made here", param_hint="--engine")
        _remake(recipe, instead, out or DEMO, only, None if dry_run else to)
        return None
    # An empty name is a variable of a script that was not set, and means no demo.
    name = "demo" if recipe is None else recipe
    if dry_run:
        _part(part)
        _dry_run(name, instead, out)
        return _after_dry_run(recipe, instead, out)
    return _augment(_read(name, instead), out or DEMO, _part(part), engine)


def _read(name: str, instead: Mapping[str, Any]) -> "AugmentRecipe":
    """A recipe of `augment`, with the values that count in place of its own."""
    from didgen.manifests.recipes.augment import AugmentRecipe
    from didgen.manifests.recipes.reading import read_recipe

    return read_recipe(name, AugmentRecipe, instead)


def _instead(recipe: str | None, model: str | None, source: Path | None) -> dict[str, Any]:
    """The values that options give in the place of a recipe's own."""
    given = {"model": model, "source": source}
    instead = {name: value for name, value in given.items() if value is not None}
    if instead and recipe is None:
        raise typer.BadParameter("--model and --source are for a recipe: name it")
    return instead


def _after_dry_run(recipe: str | None, instead: Mapping[str, Any], out: Path | None) -> NextStep:
    """The command that makes what a dry run told of."""
    named = [word for name, value in instead.items() for word in (f"--{name}", value)]
    place_ = out or Path("runs") / Path("demo" if recipe is None else recipe).stem
    return then("augment", *([] if recipe is None else [recipe]), *named, "--out", place_)


def _part(text: str | None) -> "Part":
    from didgen.augment.generation.part import Part

    try:
        return Part() if text is None else Part.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--part") from None


def _dry_run(recipe: str, instead: Mapping[str, Any], out: Path | None) -> None:
    """Print a recipe with its defaults, and what it would make."""
    from didgen.augment.console import decisions
    from didgen.augment.generation.prepare import check_source, cost_of, prepare_generation
    from didgen.augment.models.cost import check_room
    from didgen.manifests.provenance.models import unlisted
    from didgen.manifests.recipes.reading import recipe_text

    config = _read(recipe, instead)
    job = prepare_generation(config)
    check_source(job, out)
    decisions(unlisted(job.recipe.model, job.trained_on))
    print(recipe_text(config), end="")
    for kind, plan in job.plan.items():
        print(f"{kind}: {plan.samples} samples in {len(plan)} shards")
    if cost := cost_of(job):
        check_room(out, cost)
        print(cost.in_words())


def _augment(config: "AugmentRecipe", out: Path, part: "Part", engine: Engine) -> NextStep:
    """Carry a recipe out, and print what came of it; exit 1 where samples are missing."""
    from didgen.augment.generation.prepare import check_begun, prepare_generation
    from didgen.manifests.runs.order import command_to_resume

    # What is wrong with recipe, source, model and folder is said before the heavy imports.
    check_begun(out)
    job = prepare_generation(config)
    announce("PyTorch and diffusers")
    from didgen.augment.generation.run import augment as run

    manifest = run(job, out, part, engine)
    if manifest is None:
        print(
            f"This part's shards are in {out}, but not all of the run's; the last part to end "
            f"writes the manifest, or `{command_to_resume(out)}` once all have ended."
        )
        return None
    totals = manifest.totals
    print(f"{totals.samples} samples in {totals.shards} shards are in {out}.")
    if totals.redraws:
        print(f"The gates had {totals.redraws} samples drawn again; the sidecars give the reasons.")
    if manifest.failures:
        first = manifest.failures[0]
        print(
            f"{totals.failures} planned samples were not made; the sidecars give each reason. "
            f"The first is {first.key}: {first.reason}."
        )
        raise typer.Exit(1)
    return then("verify", out)


def _remake(
    recipe: str | None, instead: Mapping[str, Any], out: Path, key: str, to: Path | None
) -> None:
    """Draw one sample of a run again and write its files; without a recipe, by the run's own."""
    announce("PyTorch and diffusers")
    from didgen.augment.generation.prepare import prepare_generation
    from didgen.augment.generation.remake import recipe_of, remake, write_members

    given = recipe_of(out) if recipe is None else _read(recipe, instead)
    job = prepare_generation(given)
    if to is None:
        print(f"{key} of {out} would be drawn again.")
        return
    paths = write_members(remake(job, out, key), to)
    print(f"{key} is in {', '.join(str(path) for path in paths)}.")


def _resume_finetune(order: "Order", directory: Path) -> NextStep:
    from didgen.manifests.recipes.reading import TRAINING

    kind = TRAINING.get(str(order.recipe.get("method", "didgen")), TRAINING["didgen"])
    if (processes := order.options.get("processes", 1)) != 1:
        raise DidgenError(
            f"{directory} is trained by {processes} processes; run the same `accelerate launch` "
            "again."
        )
    return _finetune(order.recipe_as(kind, directory), directory)


def _resume_augment(order: "Order", directory: Path) -> NextStep:
    from didgen.manifests.recipes.augment import AugmentRecipe

    engine: Engine = "ray" if order.options.get("engine") == "ray" else "local"
    return _augment(order.recipe_as(AugmentRecipe, directory), directory, _part(None), engine)


RESUMES: dict[str, "Callable[[Order, Path], NextStep]"] = {
    "caption": resume_caption,
    "finetune": _resume_finetune,
    "augment": _resume_augment,
}
"""What goes on with a folder that a command of this room began, by the command."""
