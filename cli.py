"""The `didgen` command: one command a stage; it parses and prints, and decides nothing.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

import errno
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from didgen.downstream.benchmark.job import BenchmarkJob, Training
    from didgen.manifests.importers.admission import ForModel, Import
    from didgen.manifests.runs.verify import Verdict

app = typer.Typer(
    name="didgen",
    help="Class-balanced dermoscopic images and lesion-mask pairs from one diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
import_app = typer.Typer(
    no_args_is_help=True, help="Turn folders of real images into a source manifest."
)
app.add_typer(import_app, name="import")


def _place(text: str) -> Path:
    """A folder, or a part of an object store by its URL."""
    from didgen.manifests.files import located

    return located(str(text))


def _folder(text: str) -> Path:
    """A place on this machine: what a command cannot take from a store is refused by name."""
    from didgen.manifests.recipes.fields import local

    try:
        return Path(local(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Source = Annotated[
    Path,
    typer.Argument(help="Folder of a source manifest, made by `import`.", parser=_folder),
]
Run = Annotated[
    Path, typer.Argument(help="Folder of a run, or its URL in an object store.", parser=_place)
]
ManifestOut = Annotated[
    Path,
    typer.Option(
        "--out", help="Folder for the manifest; images stay where they are.", parser=_folder
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the split.")]
Fractions = Annotated[
    tuple[float, float, float], typer.Option("--split", help="Shares of train, val and test.")
]
KnownTo = Annotated[
    list[str] | None,
    typer.Option(
        help="Model (mini, a folder, a hub id), or a run made by it, whose training images go to "
        "train; may be given again."
    ),
]
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
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error, not one sentence.")
    ] = False,
) -> None:
    """Read the options of every command; `main` looks for --debug itself."""


@import_app.command("isic2018")
def import_isic2018_command(
    root: Annotated[Path, typer.Argument(help="Folder with the official ISIC 2018 folders.")],
    out: ManifestOut = Path("runs/isic2018"),
    seed: Seed = 42,
    split: Fractions = (0.8, 0.1, 0.1),
    for_model: KnownTo = None,
    dry_run: DryRun = False,
) -> None:
    """Import the official ISIC 2018 folders: Task 1 masks, Task 3 diagnoses, either or both.

    HAM10000 masks and metadata are used where they are present.
    Example: didgen import isic2018 ~/isic2018 --out runs/isic2018
    """
    from didgen.manifests.importers.isic2018 import import_isic2018

    known = _known_to(for_model)
    with _progress("reading") as advance:
        result = import_isic2018(
            root, seed=seed, fractions=split, for_models=known, progress=advance
        )
    _finish_import(result, None if dry_run else out, known)


@import_app.command("folder")
def import_folder_command(
    images: Annotated[Path, typer.Argument(help="Folder of images; subfolders may be classes.")],
    out: ManifestOut,
    licence: Annotated[str, typer.Option(help="Licence of the images, an SPDX id or text.")],
    masks: Annotated[Path | None, typer.Option(help="Folder of masks named like images.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV with image, label[, lesion_id][, split].")
    ] = None,
    seed: Seed = 42,
    split: Fractions = (0.8, 0.1, 0.1),
    for_model: KnownTo = None,
    dry_run: DryRun = False,
) -> None:
    """Import your own images, with masks and labels where you have them.

    Example: didgen import folder photos --labels labels.csv --licence CC-BY-4.0 --out runs/mine
    """
    from didgen.manifests.importers.folder import import_folder

    known = _known_to(for_model)
    with _progress("reading") as advance:
        result = import_folder(
            images,
            masks=masks,
            labels=labels,
            licence=licence,
            seed=seed,
            fractions=split,
            for_models=known,
            progress=advance,
        )
    _finish_import(result, None if dry_run else out, known)


@app.command()
def caption(
    source: Source,
    backend: Annotated[
        Literal["measure", "transformers", "openai"],
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
    from didgen.augment.prompts.caption import (
        Described,
        Measured,
        caption_source,
        describer,
        to_do,
        token_counter,
    )
    from didgen.augment.prompts.llm import ChatSettings
    from didgen.manifests.sources.records import SourceManifest

    if backend == "measure" and (model or shorten_with or base_url):
        raise typer.BadParameter("a language model needs its backend", param_hint="--backend")
    count_tokens = token_counter(target)
    captioner: Described | Measured
    if backend == "measure":
        captioner = Measured(count_tokens)
    else:
        settings = ChatSettings(backend, model, base_url, concurrency, retries, batch_size)
        captioner = Described(describer(settings, shorten_with, count_tokens))
    manifest = SourceManifest.read(source)
    missing = len(to_do(manifest, captioner.name, replace))
    print(f"{missing} of {len(manifest.records)} images are to be captioned by {captioner.name}.")
    others = sum(r.caption is not None and r.caption_by != captioner.name for r in manifest.records)
    if others and not replace:
        print(f"{others} have a caption of another backend or model; --replace redoes those.")
    if dry_run:
        return
    if missing:
        with _progress("captions") as advance:
            manifest = caption_source(
                source, captioner, target=target, again=replace, progress=advance
            )
        first = manifest.records[0].caption
        print(f"Captions are in {source / 'records.jsonl'}, for example: {first}")
    for reason, count in manifest.header.caption_fallbacks.items():
        print(f"{count} captions were measured in place of the model's words: {reason}.")
    if sheet is not None:
        from didgen.augment.contact_sheets import write_caption_sheet

        write_caption_sheet(manifest, sheet, sheet_count, seed)
        print(f"The sheet is {sheet}.")


@app.command()
def prompts(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="File for the captions, JSON lines.")],
    backend: Annotated[
        Literal["transformers", "openai"],
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
    from didgen.augment.prompts.caption import describer, token_counter
    from didgen.augment.prompts.invent import write_captions
    from didgen.augment.prompts.llm import ChatSettings
    from didgen.manifests.sources.records import SourceManifest

    manifest = SourceManifest.read(source)
    settings = ChatSettings(backend, model, base_url, concurrency, retries, batch_size)
    asked = describer(settings, shorten_with, token_counter(target))
    if dry_run:
        print(f"{per_class} captions of each class would be asked of {asked.name}.")
        return
    with _progress("captions") as advance:
        fallbacks = write_captions(manifest, asked, out, per_class, seed, progress=advance)
    print(f"New captions are in {out}; name it as `captions` in a recipe.")
    for reason, count in fallbacks.items():
        print(f"{count} were recombined in place of the model's words: {reason}.")


@app.command()
def finetune(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or name of a bundled recipe.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for checkpoints, sheets, the model.", parser=_folder),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Finetune a model with the region-aware loss, or train a small one from nothing.

    Goes on where a stopped run of the same recipe stopped.
    Runs on several processes under `accelerate launch --multi_gpu`, on CPUs too.
    Example: didgen finetune mini --out runs/mini
    """
    from didgen.manifests.recipes.finetune import FinetuneRecipe
    from didgen.manifests.recipes.reading import read_recipe
    from didgen.manifests.sources.records import read_training

    asked = read_recipe(recipe, FinetuneRecipe)
    if dry_run:
        _print_recipe(asked.model_dump(mode="json"))
        return
    if out is None:
        raise typer.BadParameter("a training needs a folder", param_hint="--out")
    # What is wrong with the data is said at once, before the heavy imports.
    read_training(asked.source)
    from didgen.augment.finetuning.finetune import finetune as run

    print(f"The model is in {run(asked, out)}.")


@app.command()
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
            parser=_place,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option("--part", help="Only the shards of part i of N, as i/N from 1/N to N/N."),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Make shards in this process, or on the Ray cluster that is running."),
    ] = "local",
    only: Annotated[
        str | None,
        typer.Option("--only", help="Remake one sample of the run in --out, by its key."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder for the files of the sample of --only.", parser=_folder),
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
    from didgen.manifests.recipes.augment import AugmentRecipe
    from didgen.manifests.recipes.reading import read_recipe

    if recipe is not None and out is None and not dry_run:
        raise typer.BadParameter("a recipe needs the folder of its run", param_hint="--out")
    if (only is None) != (to is None):
        raise typer.BadParameter("--only and --to go together", param_hint="--only")
    if only is not None and to is not None:
        if part is not None:
            raise typer.BadParameter("one sample has no parts", param_hint="--part")
        if engine == "ray":
            raise typer.BadParameter("one sample is made here", param_hint="--engine")
        _remake(recipe, out or Path("runs/demo"), only, None if dry_run else to)
        return
    asked = read_recipe(recipe or "demo", AugmentRecipe)
    from didgen.augment.console import decisions
    from didgen.augment.generation.part import Part

    try:
        share = Part.parse(part) if part else Part()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--part") from None
    from didgen.augment.generation.prepare import check_source, prepare_generation
    from didgen.augment.generation.run import augment as run
    from didgen.manifests.provenance.models import unlisted

    job = prepare_generation(asked)
    if recipe is None and out is None:
        out = Path("runs/demo")
    if dry_run or out is None:
        check_source(job, out)
        decisions(unlisted(job.recipe.model, job.trained_on))
        _print_recipe(asked.model_dump(mode="json"))
        for config, shards in job.plan.items():
            print(f"{config}: {job.count(config)} samples in {len(shards)} shards")
        return
    manifest = run(job, out, share, engine)
    if manifest is None:
        print(
            f"This part's shards are in {out}, but not all of the run's; the last part to end "
            "writes the manifest, or `didgen augment` without --part once all have ended."
        )
        return
    totals = manifest.totals
    print(f"{totals.samples} samples in {totals.shards} shards are in {out}.")
    if totals.redraws:
        print(f"The gates had {totals.redraws} samples drawn again; the sidecars give the reasons.")
    if manifest.failures:
        first = manifest.failures[0]
        print(
            f"{totals.failures} planned samples were not made; the manifest gives each reason. "
            f"The first is {first.key}: {first.reason}."
        )
        raise typer.Exit(1)


@app.command()
def verify(
    directory: Run,
) -> None:
    """Re-hash and open every member of a run's shards: ok, missing, torn, mismatch or extra."""
    from rich.console import Console

    from didgen.manifests.runs.verify import verify as judge

    with _progress("verifying") as advance:
        verdicts = judge(directory, progress=advance)
    Console().print(_verdict_table(verdicts))
    bad = sum(verdict.status != "ok" for verdict in verdicts)
    if bad:
        print(f"{bad} of {len(verdicts)} files are not ok.")
        raise typer.Exit(1)
    print(f"All {len(verdicts)} files are ok.")


@app.command()
def export(
    directory: Run,
    to: Annotated[
        Literal["imagefolder", "parquet", "nnunet"], typer.Option("--to", help="The layout.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="New folder; for nnU-Net one named like Dataset501_DiDGen.",
            parser=_folder,
        ),
    ],
    dry_run: DryRun = False,
) -> None:
    """Write a run's samples as ImageFolder, Hugging Face Parquet, or nnU-Net raw data.

    Nothing is resized, and JPEG is encoded no second time.
    Example: didgen export runs/mine --to parquet --out runs/mine-parquet
    """
    from didgen.manifests.exports.export import export as write
    from didgen.manifests.exports.sound_run import prepare_export

    with _progress("checking") as advance:
        job = prepare_export(directory, to, out, progress=advance)
    for (config, split), count in job.counts().items():
        print(f"{config}, {split}: {count} samples")
    if not dry_run:
        with _progress("exporting") as advance:
            write(job, progress=advance)
        print(f"The export is in {out}.")


@app.command()
def mix(
    source: Source,
    directory: Annotated[Path, typer.Argument(help="Folder of a run.", parser=_folder)],
    ratio: Annotated[
        float,
        typer.Option(
            min=0,
            max=1e6,
            help="Synthetic samples per real training sample: in each class of images, over all "
            "in pairs.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the mix, a run like any other.", parser=_folder)
    ],
    config: Annotated[
        Literal["images", "pairs"] | None,
        typer.Option("--config", help="What to mix; without it, all that the run holds."),
    ] = None,
    drop_copies: Annotated[
        bool,
        typer.Option(
            "--drop-copies", help="Leave out what `didgen quality --write-scores` calls a copy."
        ),
    ] = False,
    shard_size: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 256,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the choice and the order.")
    ] = 42,
    dry_run: DryRun = False,
) -> None:
    """Mix real and synthetic samples into one set of shards; synthetic only ever in training.

    Goes on where a stopped mix stopped. The splits are those of the source.
    Example: didgen mix runs/isic2018 runs/mine --ratio 0.5 --out runs/mixed
    """
    if math.isnan(ratio):
        raise typer.BadParameter("it is no number", param_hint="--ratio")
    from didgen.manifests.recipes.mix import MixRecipe
    from didgen.manifests.runs.mix import mix as write
    from didgen.manifests.runs.mix import prepare_mix

    recipe = MixRecipe(
        source=source,
        run=directory,
        ratio=ratio,
        config=config,
        drop_copies=drop_copies,
        shard_size=shard_size,
        seed=seed,
    )
    with _progress("checking") as advance:
        job = prepare_mix(recipe, progress=advance)
    for place, what in job.summary().items():
        print(f"{place}: {what}")
    _print_unlisted(directory)
    if not dry_run:
        with _progress("mixing") as advance:
            totals = write(job, out, progress=advance).totals
        print(f"{totals.samples} samples in {totals.shards} shards are in {out}.")


@app.command()
def classify(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or name of a bundled recipe.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for trainings and figures.", parser=_folder),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Train classifiers with and without synthetic images, and test what changed.

    Goes on where a stopped benchmark stopped, and trains only what a recipe asks for anew.
    Example: didgen classify isic2018-classify-cpu --out runs/classify
    """
    from didgen.downstream.benchmark.recipe import ClassifyRecipe
    from didgen.manifests.recipes.reading import read_recipe

    asked = read_recipe(recipe, ClassifyRecipe)
    if out is None and not dry_run:
        raise typer.BadParameter("a benchmark needs a folder", param_hint="--out")
    from didgen.downstream.benchmark.classification.benchmark import classify as run
    from didgen.downstream.benchmark.classification.job import prepare_classification
    from didgen.downstream.data.images import counts

    with _progress("checking") as advance:
        job = prepare_classification(asked, progress=advance)
    if dry_run or out is None:
        _print_recipe(asked.model_dump(mode="json"))
    parts = dict(job.images) | ({} if job.synthetic is None else {"synthetic": job.synthetic})
    for name, part in parts.items():
        by_class = ", ".join(f"{n} {label}" for label, n in counts(part, job.classes).items())
        print(f"{name}: {len(part)} images ({by_class})")
    _print_unlisted(asked.run)
    _print_trainings(job)
    if dry_run or out is None:
        return
    with _progress("training") as advance:
        benchmark = run(job, out, progress=advance)
    _print_benchmark(benchmark, out)


@app.command()
def segment(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or name of a bundled recipe.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for trainings, figures and plots.", parser=_folder),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Train segmentation nets with and without synthetic pairs, and test what changed.

    Goes on where a stopped benchmark stopped, and trains only what a recipe asks for anew.
    Example: didgen segment isic2018-segment-cpu --out runs/segment
    """
    from didgen.downstream.benchmark.recipe import SegmentRecipe
    from didgen.manifests.recipes.reading import read_recipe

    asked = read_recipe(recipe, SegmentRecipe)
    if out is None and not dry_run:
        raise typer.BadParameter("a benchmark needs a folder", param_hint="--out")
    from didgen.downstream.benchmark.segmentation.benchmark import segment as run
    from didgen.downstream.benchmark.segmentation.job import prepare_segmentation
    from didgen.downstream.benchmark.segmentation.summary import scale_name

    with _progress("checking") as advance:
        job = prepare_segmentation(asked, progress=advance)
    if dry_run or out is None:
        _print_recipe(asked.model_dump(mode="json"))
    parts = dict(job.images) | ({} if job.synthetic is None else {"synthetic": job.synthetic})
    print(", ".join(f"{name}: {len(part)} pairs" for name, part in parts.items()))
    print(f"Training sets: {', '.join(scale_name(job, count) for count in asked.real)}")
    _print_unlisted(asked.run)
    _print_trainings(job, *job.judges)
    if dry_run or out is None:
        return
    with _progress("training") as advance:
        benchmark = run(job, out, progress=advance)
    _print_benchmark(benchmark, out)


def _print_unlisted(run: Path | None) -> None:
    """Print that nobody knows what the model of a run was trained on, where that is so."""
    from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME
    from didgen.manifests.shards.index import read_manifest

    if run is not None and TRAINED_ON_NAME not in read_manifest(run).documents:
        print(
            f"{run} has no {TRAINED_ON_NAME}: see to it yourself that its model was not trained "
            "on what the source holds out."
        )


def _print_trainings(job: "BenchmarkJob", *more: "Training") -> None:
    """Print what is left out, how much there is to train, and on what."""
    from didgen.augment.device import choose_device

    if job.dropped:
        print(f"{len(job.dropped)} near-duplicates of images in later splits are left out.")
    trainings = [*job.trainings, *more]
    steps = sum(training.steps for training in trainings)
    device = choose_device(job.recipe.mixed_precision)
    print(f"{len(trainings)} trainings, {steps} steps at most, on {device}")


def _print_benchmark(benchmark: dict[str, Any], out: Path) -> None:
    """Print the verdicts, and where the figures are."""
    for comparison in benchmark["comparisons"]:
        print(comparison["sentence"])
    print(f"The figures are in {out / 'benchmark.md'} and {out / 'benchmark.json'}.")


@app.command()
def quality(
    real: Annotated[
        Path, typer.Option("--real", help="Folder of the source manifest.", parser=_folder)
    ],
    synthetic: Annotated[
        Path,
        typer.Option("--synthetic", help="Folder of a run, or its URL in a store.", parser=_place),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for figures, copies and pictures.", parser=_folder),
    ] = None,
    extractor: Annotated[
        str,
        typer.Option(
            help="Network of the features: inception, timm:NAME, or an earlier layer of either "
            "as inception/768, timm:NAME/4."
        ),
    ] = "inception",
    weights: Annotated[
        str,
        typer.Option(
            help="Its weights: a safetensors file, which inception needs; for timm also "
            "pretrained, reachable or none."
        ),
    ] = "pretrained",
    size: Annotated[
        int | None,
        typer.Option(min=32, max=2048, help="Side of the images in pixels; else the network's."),
    ] = None,
    against: Annotated[
        Literal["held-out", "train"],
        typer.Option(help="Real images to compare with; the others make the floor."),
    ] = "held-out",
    config: Annotated[
        Literal["images", "pairs"] | None,
        typer.Option("--config", help="What to assess; without it, all that the run holds."),
    ] = None,
    lpips: Annotated[
        Path | None,
        typer.Option("--lpips", help="LPIPS's weights, a safetensors file.", parser=_folder),
    ] = None,
    pairs: Annotated[
        int, typer.Option(min=1, help="Pairs of images that MS-SSIM and LPIPS compare.")
    ] = 256,
    planted: Annotated[
        int, typer.Option(min=1, help="Training images that are changed and looked for again.")
    ] = 100,
    judges: Annotated[
        list[Path] | None,
        typer.Option(
            "--judge",
            help="Folder of a training on real images, OUT/runs/NETWORK/original/seed-0 of "
            "`classify` or `segment`, that is asked about classes or masks; may be repeated.",
            parser=_folder,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of every draw.")] = 0,
    write_scores: Annotated[
        bool,
        typer.Option(
            "--write-scores", help="Put each sample's score into the run, for --drop-copies."
        ),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Measure how near a run's images are to real ones, and which are copies of training images.

    FID, KID, precision, recall, density, coverage, MS-SSIM and LPIPS, each beside what real images
    get; what judges say of classes and masks; a table of copies, and a sheet of the closest pairs.
    Example: didgen quality --real runs/isic2018 --synthetic runs/mine --out runs/quality
    --weights weights/inception.safetensors
    """
    if out is None and not dry_run:
        raise typer.BadParameter("figures need a folder", param_hint="--out")
    from didgen.downstream.quality.assess import Asked, assess, prepare_quality

    asked = Asked(
        real=real,
        synthetic=synthetic,
        extractor=extractor,
        weights=weights,
        size=size,
        against=against,
        config=config,
        lpips=lpips,
        pairs=pairs,
        planted=planted,
        judges=tuple(judges or ()),
        seed=seed,
    )
    with _progress("checking") as advance:
        job = prepare_quality(asked, progress=advance)
    print(
        f"extractor: {extractor}, {job.extractor.dimension} features at {job.size} px, "
        f"{job.extractor.weights}"
    )
    for name, counts in job.counts().items():
        by_class = ", ".join(f"{n} {label or 'without a class'}" for label, n in counts.items())
        print(f"{name}: {sum(counts.values())} images ({by_class})")
    _print_unlisted(synthetic)
    if dry_run or out is None:
        return
    with _progress("looking") as advance:
        record = assess(job, out, scores=write_scores, progress=advance)
    copies = record["copies"]
    print(f"{copies['count']} of {copies['n']} samples are copies of training images.")
    if write_scores:
        print(f"The scores are in the sidecars of {synthetic}.")
    print(f"The figures are in {out / 'quality.md'} and {out / 'quality.json'}.")


@app.command()
def report(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR",
            help="Folders of runs, models, assessments or benchmarks, or folders that hold some.",
            parser=_folder,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The HTML file; else report.html in the folder.", parser=_folder
        ),
    ] = None,
) -> None:
    """Write one self-contained HTML page: what was asked and made, pictures, curves, tables.

    It needs no network, reads well on a phone, and follows the light or dark of the system. What is
    not finished is shown as far as it goes.
    Example: didgen report runs/mine
    """
    if out is None and len(directories) > 1:
        raise typer.BadParameter("several folders need a file for their report", param_hint="--out")
    from didgen.downstream.report.page import NAME
    from didgen.downstream.report.page import report as write

    print(f"The report is {write(directories, out or directories[0] / NAME)}.")


@app.command()
def inspect(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run, or its URL in a store; or of a source manifest.", parser=_place
        ),
    ],
    key: Annotated[str | None, typer.Argument(help="A sample, or a real image.")] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", help="File for its picture: .png, .jpg or .webp.", parser=_folder
        ),
    ] = None,
) -> None:
    """Say what a run or a source manifest holds: counts, failures; with KEY, one sample's record.

    Example: didgen inspect runs/mine pair-000003 --picture pair.png
    """
    if picture is not None and key is None:
        raise typer.BadParameter("a picture is of one sample: name its key", param_hint="--picture")
    from rich.console import Console

    from didgen.manifests.views.contents import find, write_picture
    from didgen.manifests.views.contents import inspect as look
    from didgen.manifests.views.terminal import contents_listing, sample_listing

    contents = look(directory)
    if key is None:
        Console().print(*contents_listing(contents), sep="\n")
        return
    found = find(contents, key)
    Console().print(*sample_listing(found), sep="\n")
    if picture is not None:
        write_picture(found, picture)
        print(f"The picture is {picture}.")


def _remake(recipe: str | None, out: Path, key: str, to: Path | None) -> None:
    """Draw one sample of a run again and write its files; without a recipe, by the run's own."""
    from didgen.augment.generation.prepare import prepare_generation
    from didgen.augment.generation.remake import recipe_of, remake, write_members
    from didgen.manifests.recipes.augment import AugmentRecipe
    from didgen.manifests.recipes.reading import read_recipe

    job = prepare_generation(read_recipe(recipe, AugmentRecipe) if recipe else recipe_of(out))
    if to is None:
        print(f"{key} of {out} would be drawn again.")
        return
    paths = write_members(remake(job, out, key), to)
    print(f"{key} is in {', '.join(str(path) for path in paths)}.")


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, driven by (done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield advance


def _known_to(models: list[str] | None) -> "list[ForModel]":
    """Models, each with what it was trained on."""
    if not models:
        return []
    from didgen.manifests.provenance.models import trained_on

    return [(model, trained_on(model)) for model in models]


def _finish_import(result: "Import", out: Path | None, for_models: "list[ForModel]") -> None:
    """Write an import, and print its counts by class and split."""
    from rich.console import Console
    from rich.table import Table

    from didgen.manifests.sources.records import SPLITS, summary

    if out is not None:
        result.write(out)
    rows = summary(result.manifest)
    table = Table(title="Images (of these with a mask)")
    table.add_column("class")
    for split in SPLITS:
        table.add_column(split, justify="right")
    table.add_column("lesions", justify="right")
    for label in dict.fromkeys(row.label for row in rows):
        by_split = {row.split: row for row in rows if row.label == label}
        cells = [f"{by_split[split].images} ({by_split[split].pairs})" for split in SPLITS]
        table.add_row(label, *cells, str(sum(row.lesions for row in by_split.values())))
    Console().print(table)
    pairs = sum(row.pairs for row in rows)
    print(f"{len(result.manifest.records)} images, {pairs} with a mask.")
    for model, trained_on in for_models:
        records = result.manifest.records
        lesions = {r.lesion_id for r in records if trained_on.knows(r, r.sha256)}
        known = sum(record.lesion_id in lesions for record in records)
        print(f"{known} of them are known to {model}, by themselves or their lesion, and train.")
    if result.rejections:
        where = f", listed in {out / 'rejected.jsonl'}" if out else ""
        print(f"{len(result.rejections)} files were rejected{where}; the first: ", end="")
        print(result.rejections[0].sentence)


def _verdict_table(verdicts: "list[Verdict]") -> object:
    """Verdicts as a rich table, the mend beside each that is not ok."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("file", "status", "")
    for verdict in verdicts:
        colour = "green" if verdict.status == "ok" else "red"
        status = f"[{colour}]{verdict.status}[/{colour}]"
        table.add_row(escape(str(verdict.file)), status, escape(verdict.sentence))
    return table


def _print_recipe(recipe: dict[str, object]) -> None:
    """Print a recipe as YAML, with every default filled in."""
    import yaml

    print(yaml.safe_dump(recipe, sort_keys=False), end="")


def _terminate(*_: object) -> NoReturn:
    """Leave by an exception, and let no second signal cut the leaving short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _sentence(error: Exception) -> str | None:
    """What the user is told of an error; None for a fault of didgen."""
    from didgen.manifests.errors import DidgenError

    if isinstance(error, DidgenError):
        return str(error)
    # Torch's own class is not imported for it.
    if type(error).__name__ == "OutOfMemoryError":
        return (
            "The GPU's memory is full; to go on, lower `sampling.batch_size` (augment) or "
            "--batch-size (caption, prompts) or `batch_size` (classify, segment), or set "
            "`gradient_checkpointing: true` (finetune); a training with another `batch_size` "
            "begins in a new directory."
        )
    if isinstance(error, OSError):
        name, reason = error.filename or "A file", error.strerror or error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{name} cannot be written: {reason}; make room, and run the command again."
        if error.filename is None:
            # It may not be of a file: a connection's fault has neither rights nor a drive.
            return f"{name} cannot be used: {reason}."
        return (
            f"{name} cannot be used: {reason}; see to its rights and its drive, and run the "
            "command again."
        )
    return None


def main() -> NoReturn:
    """Run the command line; exit 0 done, 1 bad data or result, 2 usage, 130 or 143 stopped.

    SIGTERM stops like SIGINT: as an exception, so that whatever is half-written is dropped.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None or "--debug" in sys.argv:
            raise
        print(f"Error: {sentence}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
