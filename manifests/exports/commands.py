"""The command `export`; it parses and prints, no more.

Heavy imports stand inside it, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from didgen.manifests.choices import ExportForm
from didgen.manifests.next_step import NextStep
from didgen.manifests.options import DryRun, OnlyReviewed, Pseudonymise, Run, folder
from didgen.manifests.progress import terminal_progress


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
) -> NextStep:
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
    print(*job.summary(), sep="\n")
    if not dry_run:
        with terminal_progress("exporting") as advance:
            write(job, progress=advance)
        if job.changed:
            print(f"images of an older mix or another maker: {job.changed}")
        print(f"The export is in {out}.")
        return _first_use(to, out)
    return None


def _first_use(to: ExportForm, out: Path) -> NextStep:
    """The command that reads an export by what it is for."""
    if to == "nnunet":
        number = out.name.removeprefix("Dataset").partition("_")[0]
        return (
            "env",
            f"nnUNet_raw={out.resolve().parent}",
            "nnUNetv2_extract_fingerprint",
            "-d",
            number,
            "--verify_dataset_integrity",
        )
    opened = f"load_dataset({str(out)!r})"
    return ("python", "-c", f"from datasets import load_dataset; print({opened})")
