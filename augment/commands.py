"""The commands that make data: caption, prompts, finetune, augment; they parse and print, no more.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didgen.manifests.choices import CaptionBackend, ChatBackend, Engine
from didgen.manifests.errors import DidgenError
from didgen.manifests.options import (
    DryRun,
    RecipeName,
    Source,
    folder,
    needs_out,
    place,
)
from didgen.manifests.privacy.paths import LEFT_OUT
from didgen.manifests.progress import announce, terminal_progress

if TYPE_CHECKING:
    from didgen.augment.generation.part import Part
    from didgen.manifests.recipes.augment import AugmentRecipe
    from didgen.manifests.recipes.training import TrainingRecipe
    from didgen.manifests.runs.order import Order

DEMO = Path("runs/demo")
"""The run of `didgen augment` without a recipe."""

ChatModel = Annotated[
    str | None, typer.Option(help="Language model: a hub id, a folder, or the endpoint's name.")
]
ShortenWith = Annotated[
    str | None, typer.Option(help="Another model that shortens what the first one says.")
]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible endpoint.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests to an endpoint at once.")]
Retries = Annotated[int, typer.Option(min=0, help="Further tries of a failed request.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that transformers takes at once.")]
Target = Annotated[
    str, typer.Option(help="Stable Diffusion model whose tokenizer counts the 77 tokens.")
]


def caption(
    source: Source,
    backend: Annotated[
        CaptionBackend,
        typer.Option(help="Measure the pixels, or ask a language model, here or elsewhere."),
    ] = "measure",
    model: ChatModel = None,
    shorten_with: ShortenWith = None,
    base_url: BaseUrl = None,
    concurrency: Concurrency = 8,
    retries: Retries = 5,
    batch_size: BatchSize = 4,
    target: Target = "mini",
    replace: Annotated[
        bool, typer.Option("--replace", help="Also replace captions of another backend or model.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG for random images with their captions.")
    ] = None,
    sheet_count: Annotated[int, typer.Option(min=1, help="Images on that sheet.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that sheet.")] = 0,
    dry_run: DryRun = False,
) -> None:
    """Write one clinical sentence (DermPrompt) for every image that has none into the manifest.

    Goes on where a stopped run stopped; the key of an endpoint is read from OPENAI_API_KEY.
    Example: didgen caption runs/isic2018 --sheet captions.png
    """
    if backend == "measure" and (model or shorten_with or base_url):
        raise typer.BadParameter("a language model needs its backend", param_hint="--backend")
    asked = {
        "backend": backend,
        "model": model,
        "shorten_with": shorten_with,
        "base_url": base_url,
        "concurrency": concurrency,
        "retries": retries,
        "batch_size": batch_size,
        "target": target,
        "replace": replace,
    }
    _caption(source, asked, dry_run=dry_run)
    if sheet is not None and not dry_run:
        from didgen.augment.contact_sheets import write_caption_sheet
        from didgen.manifests.sources.records import SourceManifest

        write_caption_sheet(SourceManifest.read(source), sheet, sheet_count, seed)
        print(f"The sheet is {sheet}.")


def _caption(source: Path, asked: Mapping[str, Any], *, dry_run: bool) -> None:
    """Say what is to be captioned, caption it, and say what could not be as was asked."""
    from didgen.augment.captions.caption import caption_source, captioner_of, to_do
    from didgen.manifests.runs.order import keep_order
    from didgen.manifests.sources.records import SourceManifest

    captioner = captioner_of(asked)
    target, replace = asked["target"], asked["replace"]
    manifest = SourceManifest.read(source)
    missing = len(to_do(manifest, captioner.name, replace))
    print(f"{missing} of {len(manifest.records)} images are to be captioned by {captioner.name}.")
    others = sum(r.caption is not None and r.caption_by != captioner.name for r in manifest.records)
    if others and not replace:
        print(f"{others} have a caption of another backend or model; --replace redoes those.")
    if dry_run:
        return
    if not missing:
        manifest = caption_source(source, captioner, target=target, again=replace)
    else:
        # An address may hold a password.
        address = asked["base_url"]
        kept = LEFT_OUT if address and "@" in address else address
        keep_order(source, "caption", {**asked, "base_url": kept})
        with terminal_progress("captions") as advance:
            manifest = caption_source(
                source, captioner, target=target, again=replace, progress=advance
            )
        first = manifest.records[0].caption
        print(f"Captions are in {source / 'records.jsonl'}, for example: {first}")
    for reason, count in manifest.header.caption_fallbacks.items():
        print(f"{count} captions were measured in place of the model's words: {reason}.")


def prompts(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="File for the captions, JSON lines.")],
    backend: Annotated[
        ChatBackend,
        typer.Option(help="A language model on this machine or behind an endpoint."),
    ],
    per_class: Annotated[int, typer.Option(min=1, help="New captions of each class.")] = 100,
    model: ChatModel = None,
    shorten_with: ShortenWith = None,
    base_url: BaseUrl = None,
    concurrency: Concurrency = 8,
    retries: Retries = 5,
    batch_size: BatchSize = 4,
    target: Target = "mini",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the examples shown.")] = 42,
    dry_run: DryRun = False,
) -> None:
    """Write new captions by a language model, for a recipe's `captions` field.

    Without them, `augment` recombines what is known of a class. Goes on where a stopped run
    stopped; the key of an endpoint is read from OPENAI_API_KEY.
    Example: didgen prompts runs/isic2018 --out new.jsonl --backend openai --model my-model
    """
    from didgen.augment.captions.caption import describer
    from didgen.augment.captions.invent import write_captions
    from didgen.augment.captions.llm import ChatSettings
    from didgen.augment.models.tokens import token_counter
    from didgen.manifests.sources.records import SourceManifest

    manifest = SourceManifest.read(source)
    settings = ChatSettings(backend, model, base_url, concurrency, retries, batch_size)
    asked = describer(settings, shorten_with, token_counter(target))
    if dry_run:
        print(f"{per_class} captions of each class would be asked of {asked.name}.")
        return
    with terminal_progress("captions") as advance:
        written = write_captions(manifest, asked, out, per_class, seed, progress=advance)
    print(f"{written.captions} new captions are in {out}; name it as `captions` in a recipe.")
    if written.doubles:
        print(f"{written.doubles} were dropped, because they were known or said before.")
    for reason, count in written.recombined.items():
        print(f"{count} were recombined in place of the model's words: {reason}.")


def finetune(
    recipe: RecipeName,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for checkpoints, sheets, the model.", parser=folder),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Finetune a model with the region-aware loss, train a small one from nothing, or a rival.

    The recipe's `method` says which; without one it is DiDGen.
    Goes on where a stopped run of the same recipe stopped.
    Runs on several processes under `accelerate launch --multi_gpu`, on CPUs too.
    Example: didgen finetune mini --out runs/mini
    """
    from didgen.manifests.recipes.reading import read_training_recipe, recipe_text

    config = read_training_recipe(recipe)
    if dry_run:
        from didgen.augment.finetuning.rehearsal import rehearse

        print(recipe_text(config), end="")
        for sentence in rehearse(config, out):
            print(sentence)
        return
    if out is None:
        raise needs_out("a training")
    _finetune(config, out)


def _finetune(config: "TrainingRecipe", out: Path) -> None:
    """Train by a recipe, and say where the model is."""
    from didgen.augment.finetuning.training_images import read_training_images

    # What is wrong with the data is said at once, before the heavy imports.
    read_training_images(config)
    announce("PyTorch and diffusers")
    from didgen.augment.methods.registry import train_model

    print(f"The model is in {train_model(config, out)}.")


def augment(
    recipe: Annotated[
        str | None, typer.Argument(help="Recipe file, or name of a bundled one.")
    ] = None,
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
    dry_run: DryRun = False,
) -> None:
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
    if only is not None and to is not None:
        if part is not None:
            raise typer.BadParameter("one sample has no parts", param_hint="--part")
        if engine == "ray":
            raise typer.BadParameter("one sample is made here", param_hint="--engine")
        _remake(recipe, out or DEMO, only, None if dry_run else to)
        return
    # An empty name is a variable of a script that was not set, and means no demo.
    name = "demo" if recipe is None else recipe
    if dry_run:
        _part(part)
        _dry_run(name, out)
    else:
        from didgen.manifests.recipes.augment import AugmentRecipe
        from didgen.manifests.recipes.reading import read_recipe

        config = read_recipe(name, AugmentRecipe)
        _augment(config, out or DEMO, _part(part), engine)


def _part(text: str | None) -> "Part":
    from didgen.augment.generation.part import Part

    try:
        return Part() if text is None else Part.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--part") from None


def _dry_run(recipe: str, out: Path | None) -> None:
    """Print a recipe with its defaults, and what it would make."""
    from didgen.augment.console import decisions
    from didgen.augment.generation.prepare import check_source, cost_of, prepare_generation
    from didgen.augment.models.cost import check_room
    from didgen.manifests.provenance.models import unlisted
    from didgen.manifests.recipes.augment import AugmentRecipe
    from didgen.manifests.recipes.reading import read_recipe, recipe_text

    config = read_recipe(recipe, AugmentRecipe)
    job = prepare_generation(config)
    check_source(job, out)
    decisions(unlisted(job.recipe.model, job.trained_on))
    print(recipe_text(config), end="")
    for kind, plan in job.plan.items():
        print(f"{kind}: {plan.samples} samples in {len(plan)} shards")
    if cost := cost_of(job):
        check_room(out, cost)
        print(cost.in_words())


def _augment(config: "AugmentRecipe", out: Path, part: "Part", engine: Engine) -> None:
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
        return
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


def _remake(recipe: str | None, out: Path, key: str, to: Path | None) -> None:
    """Draw one sample of a run again and write its files; without a recipe, by the run's own."""
    announce("PyTorch and diffusers")
    from didgen.augment.generation.prepare import prepare_generation
    from didgen.augment.generation.remake import recipe_of, remake, write_members
    from didgen.manifests.recipes.augment import AugmentRecipe
    from didgen.manifests.recipes.reading import read_recipe

    config = recipe_of(out) if recipe is None else read_recipe(recipe, AugmentRecipe)
    job = prepare_generation(config)
    if to is None:
        print(f"{key} of {out} would be drawn again.")
        return
    paths = write_members(remake(job, out, key), to)
    print(f"{key} is in {', '.join(str(path) for path in paths)}.")


def _resume_caption(order: "Order", directory: Path) -> None:
    _caption(directory, order.recipe, dry_run=False)


def _resume_finetune(order: "Order", directory: Path) -> None:
    from didgen.manifests.recipes.reading import TRAINING

    kind = TRAINING.get(str(order.recipe.get("method", "didgen")), TRAINING["didgen"])
    if (processes := order.options.get("processes", 1)) != 1:
        raise DidgenError(
            f"{directory} is trained by {processes} processes; run the same `accelerate launch` "
            "again."
        )
    _finetune(order.recipe_as(kind, directory), directory)


def _resume_augment(order: "Order", directory: Path) -> None:
    from didgen.manifests.recipes.augment import AugmentRecipe

    engine: Engine = "ray" if order.options.get("engine") == "ray" else "local"
    _augment(order.recipe_as(AugmentRecipe, directory), directory, _part(None), engine)


RESUMES: dict[str, "Callable[[Order, Path], None]"] = {
    "caption": _resume_caption,
    "finetune": _resume_finetune,
    "augment": _resume_augment,
}
"""What goes on with a folder that a command of this room began, by the command."""
