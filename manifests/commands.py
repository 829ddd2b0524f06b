"""The commands on data: import, verify, inspect, mix, export; they parse and print, no more.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from didgen.manifests.choices import Config, ExportForm
from didgen.manifests.options import DryRun, OnlyReviewed, Run, Source, folder, place
from didgen.manifests.progress import terminal_progress

if TYPE_CHECKING:
    from didgen.manifests.importers.admission import ForModel, Import

import_app = typer.Typer(
    name="import", no_args_is_help=True, help="Turn folders of real images into a source manifest."
)

ManifestOut = Annotated[
    Path,
    typer.Option(
        "--out", help="Folder for the manifest; images stay where they are.", parser=folder
    ),
]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split.")]
Fractions = Annotated[
    tuple[float, float, float], typer.Option("--split", help="Shares of train, val and test.")
]
Ratio = Annotated[
    float,
    typer.Option(
        min=0,
        max=1e6,
        help="Synthetic samples per real training sample: in each class of images, over all in "
        "pairs.",
    ),
]
Pseudonymise = Annotated[
    bool,
    typer.Option(
        "--pseudonymise",
        help="Name real images and lesions by a keyed hash, whose key stays with the source.",
    ),
]
KnownTo = Annotated[
    list[str] | None,
    typer.Option(
        help="Model (mini, a folder, a hub id), or a run made by it, whose training images go to "
        "train; may be given again."
    ),
]


@import_app.command("isic2018")
def import_isic2018_command(
    root: Annotated[Path, typer.Argument(help="Folder with the official ISIC 2018 folders.")],
    out: ManifestOut = Path("runs/isic2018"),
    seed: SplitSeed = 42,
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
    with terminal_progress("reading") as advance:
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
    seed: SplitSeed = 42,
    split: Fractions = (0.8, 0.1, 0.1),
    for_model: KnownTo = None,
    dry_run: DryRun = False,
) -> None:
    """Import your own images, with masks and labels where you have them.

    Example: didgen import folder photos --labels labels.csv --licence CC-BY-4.0 --out runs/mine
    """
    from didgen.manifests.importers.folder import import_folder

    known = _known_to(for_model)
    with terminal_progress("reading") as advance:
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


def _known_to(models: list[str] | None) -> "list[ForModel]":
    """Models, each with what it was trained on."""
    if not models:
        return []
    from didgen.manifests.provenance.models import trained_on

    return [(model, trained_on(model)) for model in models]


def _finish_import(result: "Import", out: Path | None, for_models: "list[ForModel]") -> None:
    """Write an import, and print its counts by class and split."""
    from rich.console import Console

    from didgen.manifests.privacy.personal import personal_names
    from didgen.manifests.sources.records import summary
    from didgen.manifests.views.terminal import import_table

    if out is not None:
        result.write(out)
    records = result.manifest.records
    rows = summary(result.manifest)
    Console().print(import_table(rows))
    print(f"{len(records)} images, {sum(row.pairs for row in rows)} with a mask.")
    for model, trained_on in for_models:
        lesions = {r.lesion_id for r in records if trained_on.knows_record(r)}
        known = sum(record.lesion_id in lesions for record in records)
        print(f"{known} of them are known to {model}, by themselves or their lesion, and train.")
    if personal := personal_names(result.manifest):
        print(personal.sentence())
    if result.rejections:
        where = f", listed in {out / 'rejected.jsonl'}" if out else ""
        print(f"{len(result.rejections)} files were rejected{where}; the first: ", end="")
        print(result.rejections[0].sentence)


def verify(directory: Run) -> None:
    """Re-hash and open every member of a run's shards: ok, missing, torn, mismatch or extra.

    Example: didgen verify runs/mine
    """
    from rich.console import Console

    from didgen.manifests.runs.verify import verify as judge
    from didgen.manifests.views.terminal import verdict_table

    with terminal_progress("verifying") as advance:
        verdicts = judge(directory, progress=advance)
    Console().print(verdict_table(verdicts))
    bad = sum(verdict.status != "ok" for verdict in verdicts)
    if bad:
        print(f"{bad} of {len(verdicts)} files are not ok.")
        raise typer.Exit(1)
    print(f"All {len(verdicts)} files are ok.")


def inspect(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run, or its URL in a store; or of a source manifest.", parser=place
        ),
    ],
    key: Annotated[str | None, typer.Argument(help="A sample, or a real image.")] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="File for its picture: .png, .jpg or .webp.", parser=folder),
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


def mix(
    source: Source,
    directory: Annotated[Path, typer.Argument(help="Folder of a run.", parser=folder)],
    ratio: Ratio,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the mix, a run like any other.", parser=folder)
    ],
    config: Annotated[
        Config | None,
        typer.Option("--config", help="What to mix; without it, all that the run holds."),
    ] = None,
    drop_copies: Annotated[
        bool,
        typer.Option(
            "--drop-copies", help="Leave out what `didgen quality --write-scores` calls a copy."
        ),
    ] = False,
    reviewed: OnlyReviewed = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 256,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the choice and the order.")
    ] = 42,
    pseudonymise: Pseudonymise = False,
    dry_run: DryRun = False,
) -> None:
    """Mix real and synthetic samples into one set of shards; synthetic only ever in training.

    Goes on where a stopped mix stopped. The splits are those of the source. Real images leave
    without metadata.
    Example: didgen mix runs/isic2018 runs/mine --ratio 0.5 --out runs/mixed
    """
    if math.isnan(ratio):
        raise typer.BadParameter("it is no number", param_hint="--ratio")
    from didgen.manifests.provenance.models import unlisted_run
    from didgen.manifests.recipes.mix import MixRecipe
    from didgen.manifests.runs.mix import mix as write
    from didgen.manifests.runs.mix import prepare_mix

    recipe = MixRecipe(
        source=source,
        run=directory,
        ratio=ratio,
        config=config,
        drop_copies=drop_copies,
        pseudonymise=pseudonymise,
        reviewed=reviewed,
        shard_size=shard_size,
        seed=seed,
    )
    with terminal_progress("checking") as advance:
        job = prepare_mix(recipe, progress=advance)
    for where, what in job.summary().items():
        print(f"{where}: {what}")
    if sentence := unlisted_run(directory):
        print(sentence)
    if not dry_run:
        with terminal_progress("mixing") as advance:
            manifest = write(job, out, progress=advance)
        if "real images" in manifest.decisions:
            print(f"real images: {manifest.decisions['real images']}")
        totals = manifest.totals
        print(f"{totals.samples} samples in {totals.shards} shards are in {out}.")


def export(
    directory: Run,
    to: Annotated[ExportForm, typer.Option("--to", help="The layout.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="New folder; for nnU-Net one named like Dataset501_DiDGen.",
            parser=folder,
        ),
    ],
    pseudonymise: Pseudonymise = False,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Source whose key makes the pseudonyms; else the one that the run names.",
            parser=folder,
        ),
    ] = None,
    reviewed: OnlyReviewed = None,
    dry_run: DryRun = False,
) -> None:
    """Write a run's samples as ImageFolder, Hugging Face Parquet, or nnU-Net raw data.

    Nothing is resized, and JPEG is encoded no second time. Images leave without metadata.
    Example: didgen export runs/mine --to parquet --out runs/mine-parquet
    """
    if source is not None and not pseudonymise:
        raise typer.BadParameter("a source is for --pseudonymise", param_hint="--source")
    from didgen.manifests.exports.export import export as write
    from didgen.manifests.exports.sound_run import only_accepted, prepare_export

    with terminal_progress("checking") as advance:
        job = prepare_export(
            directory, to, out, progress=advance, pseudonymise=pseudonymise, source=source
        )
    if reviewed:
        job = only_accepted(job)
        print(f"reviews: {job.manifest.decisions['reviews']}")
    for (config, split), count in job.counts().items():
        print(f"{config}, {split}: {count} samples")
    if not dry_run:
        with terminal_progress("exporting") as advance:
            write(job, progress=advance)
        if job.changed:
            print(f"images of an older mix or another maker: {job.changed}")
        print(f"The export is in {out}.")
