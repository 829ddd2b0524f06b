"""The commands on data: import, verify, inspect, mix, export, and those on the hub; they parse.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from didgen.manifests.catalogue.commands import recipes as recipes
from didgen.manifests.choices import Config, LabelBy, MaskOrientation
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.commands import export as export
from didgen.manifests.foreign.commands import import_synthetic, resume_synthetic
from didgen.manifests.hub.commands import pull as pull
from didgen.manifests.hub.commands import push as push
from didgen.manifests.next_step import NextStep, beside, then
from didgen.manifests.options import (
    DryRun,
    OnlyReviewed,
    Pseudonymise,
    Source,
    folder,
)
from didgen.manifests.progress import terminal_progress
from didgen.manifests.sources.commands import annotating as annotating
from didgen.manifests.views.commands import inspect as inspect
from didgen.manifests.views.commands import verify as verify

if TYPE_CHECKING:
    from didgen.manifests.importers.admission import ForModel, Import, ImportOptions
    from didgen.manifests.recipes.mix import MixRecipe
    from didgen.manifests.runs.order import Order

import_app = typer.Typer(
    name="import", no_args_is_help=True, help="Real images as a source; foreign samples as a run."
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
DropCopies = Annotated[
    bool,
    typer.Option(
        "--drop-copies", help="Leave out what `didgen quality --write-scores` calls a copy."
    ),
]
KnownTo = Annotated[
    list[str] | None,
    typer.Option(
        help="Model (mini, a folder, a hub id), or a run made by it, whose training images go to "
        "train; may be given again."
    ),
]

MaskDrawnOn = Annotated[
    MaskOrientation | None,
    typer.Option(
        "--mask-orientation",
        help="What masks were drawn on, where EXIF turns a photograph and both would fit: the "
        "upright photograph as viewers show it, or its stored pixels.",
    ),
]
InvertMasks = Annotated[
    bool, typer.Option("--invert-masks", help="Masks are white where the skin is.")
]

PUBLIC_SETS = {
    "isic2016": "ISIC 2016: malignancy and masks, of 1279 images.",
    "isic2017": "ISIC 2017: three diagnoses and masks, of 2750 images.",
    "isic2018": "ISIC 2018: Task 1 masks, Task 3 diagnoses (HAM10000), either or both.",
    "isic2019": "ISIC 2019: eight diagnoses of 25,331 training images.",
    "isic2020": "ISIC 2020, of the challenge or Kaggle: 33,126 images of 2056 patients.",
    "ham10000": "HAM10000 as Kaggle or the Dataverse ships it: seven diagnoses.",
    "bcn20000": "BCN20000: eight diagnoses of 12,413 images.",
    "ph2": "PH2: nevi and melanomas with masks, 200 images.",
    "derm7pt": "Derm7pt: the dermoscopic images of 1011 cases, with their splits.",
    "isic-archive": "images of the ISIC archive with their metadata.csv, by isic-cli.",
}
"""Public sets by the command that imports them; the module of one has the same name."""


def _public_set(name: str, about: str) -> Callable[..., NextStep]:
    """The command that imports a public set."""

    def command(
        root: Annotated[Path, typer.Argument(help="Folder that its archives were unpacked into.")],
        out: ManifestOut = Path("runs") / name,
        seed: SplitSeed = 42,
        split: Fractions = (0.8, 0.1, 0.1),
        for_model: KnownTo = None,
        mask_orientation: MaskDrawnOn = None,
        dry_run: DryRun = False,
    ) -> NextStep:
        return _import_set(name, None, root, None if dry_run else out, for_model)(
            seed=seed, fractions=split, mask_orientation=mask_orientation
        )

    def labelled(
        root: Annotated[Path, typer.Argument(help="Folder that its archives were unpacked into.")],
        out: ManifestOut = Path("runs") / name,
        by: Annotated[
            LabelBy, typer.Option("--by", help="What classes are: most have no diagnosis.")
        ] = "diagnosis",
        seed: SplitSeed = 42,
        split: Fractions = (0.8, 0.1, 0.1),
        for_model: KnownTo = None,
        dry_run: DryRun = False,
    ) -> NextStep:
        return _import_set(name, by, root, None if dry_run else out, for_model)(
            seed=seed, fractions=split
        )

    chosen = labelled if name in ("isic2020", "isic-archive") else command
    chosen.__doc__ = f"Import {about}\n\nExample: didgen import {name} ~/{name} --out runs/{name}"
    return chosen


for _name, _about in PUBLIC_SETS.items():
    import_app.command(_name)(_public_set(_name, _about))
import_app.command("synthetic")(import_synthetic)


def _import_set(
    name: str, by: LabelBy | None, root: Path, out: Path | None, for_model: list[str] | None
) -> Callable[..., NextStep]:
    """What imports a public set with the options that it is called with."""
    from didgen.manifests.importers.gathering import import_collection

    module = import_module(f"didgen.manifests.importers.{name.replace('-', '_')}")
    collection = module.collection(by) if by else module.COLLECTION

    def carry_out(**options: Any) -> NextStep:
        return _carry_out(
            lambda given: import_collection(collection, root, given), out, for_model, options
        )

    return carry_out


@import_app.command("folder")
def import_folder_command(
    images: Annotated[Path, typer.Argument(help="Folder of images, or an export of didgen.")],
    out: ManifestOut,
    licence: Annotated[str, typer.Option(help="Licence of the images, an SPDX id or text.")],
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks named like images; it may be that of the images."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV with image, label[, lesion_id][, patient_id][, split]."),
    ] = None,
    folders: Annotated[
        str | None,
        typer.Option(
            help="What each level of subfolders names: split, class, patient, lesion or skip, such "
            "as split/class. Without it, their names tell."
        ),
    ] = None,
    mask_orientation: MaskDrawnOn = None,
    invert_masks: InvertMasks = False,
    seed: SplitSeed = 42,
    split: Fractions = (0.8, 0.1, 0.1),
    for_model: KnownTo = None,
    dry_run: DryRun = False,
) -> NextStep:
    """Import your own images, with masks and labels where you have them.

    Example: didgen import folder photos --labels labels.csv --licence CC-BY-4.0 --out runs/mine
    """
    from didgen.manifests.importers.finding.folders import read_levels
    from didgen.manifests.importers.folder import import_folder

    for option, wanted in (
        ("--mask-orientation", mask_orientation),
        ("--invert-masks", invert_masks),
    ):
        if wanted and masks is None:
            raise typer.BadParameter("there are no masks without --masks", param_hint=option)
    try:
        levels = read_levels(folders) if folders is not None else None
    except DidgenError as error:
        raise typer.BadParameter(str(error), param_hint="--folders") from None
    return _carry_out(
        lambda given: import_folder(
            images, licence=licence, masks=masks, labels=labels, folders=levels, options=given
        ),
        None if dry_run else out,
        for_model,
        {
            "seed": seed,
            "fractions": split,
            "mask_orientation": mask_orientation,
            "invert_masks": invert_masks,
        },
    )


def _carry_out(
    importing: "Callable[[ImportOptions], Import]",
    out: Path | None,
    for_model: list[str] | None,
    options: dict[str, Any],
) -> NextStep:
    """Import with some options, write the manifest, and say what was understood."""
    from didgen.manifests.importers.admission import ImportOptions
    from didgen.manifests.views.import_screen import print_import

    known = _known_to(for_model)
    with terminal_progress("reading") as advance:
        result = importing(ImportOptions(for_models=known, progress=advance, **options))
    if out is not None:
        result.write(out)
    print_import(result, out, known)
    if out is None:
        return None
    # Finetuning learns where lesions are, by masks of training images.
    masked = result.manifest.select(split="train", masked=True)
    return then("caption" if masked else "annotate", out)


def _known_to(models: list[str] | None) -> "list[ForModel]":
    """Models, each with what it was trained on."""
    if not models:
        return []
    from didgen.manifests.provenance.models import trained_on

    return [(model, trained_on(model)) for model in models]


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
    drop_copies: DropCopies = False,
    reviewed: OnlyReviewed = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 256,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the choice and the order.")
    ] = 42,
    pseudonymise: Pseudonymise = False,
    dry_run: DryRun = False,
) -> NextStep:
    """Mix real and synthetic samples into one set of shards; synthetic only ever in training.

    Goes on where a stopped mix stopped. The splits are those of the source. Real images leave
    without metadata.
    Example: didgen mix runs/isic2018 runs/mine --ratio 0.5 --out runs/mixed
    """
    if math.isnan(ratio):
        raise typer.BadParameter("it is no number", param_hint="--ratio")
    from didgen.manifests.recipes.mix import MixRecipe

    asked = MixRecipe(
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
    return _mix(asked, None if dry_run else out)


def _mix(recipe: "MixRecipe", out: Path | None) -> NextStep:
    """Say what a mix would hold, and write it where there is a folder for it."""
    from didgen.manifests.provenance.models import unlisted_run
    from didgen.manifests.runs.mix import mix as write
    from didgen.manifests.runs.mix import prepare_mix

    with terminal_progress("checking") as advance:
        job = prepare_mix(recipe, progress=advance)
    for where, what in job.summary().items():
        print(f"{where}: {what}")
    if sentence := unlisted_run(recipe.run):
        print(sentence)
    if out is not None:
        with terminal_progress("mixing") as advance:
            manifest = write(job, out, progress=advance)
        if "real images" in manifest.decisions:
            print(f"real images: {manifest.decisions['real images']}")
        totals = manifest.totals
        print(f"{totals.samples} samples in {totals.shards} shards are in {out}.")
        return then("export", out, "--to", "imagefolder", "--out", beside(out, "export"))
    return None


def _resume_mix(order: "Order", directory: Path) -> NextStep:
    from didgen.manifests.recipes.mix import MixRecipe

    return _mix(order.recipe_as(MixRecipe, directory), directory)


RESUMES: dict[str, "Callable[[Order, Path], NextStep]"] = {
    "mix": _resume_mix,
    "synthetic": resume_synthetic,
}
"""What goes on with a folder that a command of this room began, by the command."""
