"""The commands on the hub: push and pull; they parse and print, no more."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from didgen.manifests.errors import DidgenError
from didgen.manifests.next_step import NextStep, beside, then
from didgen.manifests.options import DryRun, OnlyReviewed, Pseudonymise, folder
from didgen.manifests.progress import terminal_progress

if TYPE_CHECKING:
    from didgen.manifests.hub.push import Push

Repository = Annotated[
    str, typer.Argument(metavar="ID", help="Repository on the Hugging Face Hub, OWNER/NAME.")
]


def push(
    directory: Annotated[
        Path, typer.Argument(help="Folder of a run, a mix or a model.", parser=folder)
    ],
    repository: Repository,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see it; else it is private.")
    ] = False,
    quality: Annotated[
        Path | None,
        typer.Option(
            help="Assessment of the run by `didgen quality`, whose copy check decides.",
            parser=folder,
        ),
    ] = None,
    reviewed: OnlyReviewed = None,
    pseudonymise: Pseudonymise = False,
    dry_run: DryRun = False,
) -> NextStep:
    """Share a run as a Parquet data set with its card, or a model, on the Hugging Face Hub.

    Private unless --public is given. Refused where a licence forbids it, and where more samples are
    copies than real images would be. A push that was cut off goes on when it is run again.
    Example: didgen push runs/mine me/dermoscopy --quality runs/quality
    """
    from didgen.manifests.hub.push import cleared_model
    from didgen.manifests.hub.push import push as share
    from didgen.manifests.provenance.model_files import is_model

    if is_model(directory):
        if quality or reviewed or pseudonymise:
            raise DidgenError(
                f"{directory} is a model; --quality, --reviewed and --pseudonymise are for runs."
            )
        asked = cleared_model(directory)
    else:
        asked = _cleared_run(directory, quality, bool(reviewed), pseudonymise)
    print(*asked.said(), sep="\n")
    if not dry_run:
        with terminal_progress("exporting") as advance:
            address = share(asked, repository, public=public, progress=advance)
        print(f"It is {'public' if public else 'private'}, at {address}.")
        kind = ("--model",) if is_model(directory) else ()
        return then("pull", repository, *kind, "--out", beside(directory, "pulled"))
    return None


def _cleared_run(
    directory: Path, assessment: Path | None, reviewed: bool, pseudonymise: bool
) -> "Push":
    from didgen.manifests.exports.sound_run import only_accepted, prepare_export
    from didgen.manifests.hub.push import cleared_run

    # The export itself goes into a temporary folder; this one is never made.
    place = directory / ".push"
    with terminal_progress("checking") as advance:
        job = prepare_export(
            directory, "parquet", place, progress=advance, pseudonymise=pseudonymise
        )
    return cleared_run(only_accepted(job) if reviewed else job, assessment)


def pull(
    repository: Repository,
    out: Annotated[Path, typer.Option("--out", help="New folder for it.", parser=folder)],
    model: Annotated[bool, typer.Option("--model", help="It is a model, no data set.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; else the main branch.")
    ] = None,
) -> NextStep:
    """Fetch a data set, or a model, from the Hugging Face Hub into a folder.

    Nothing that is unpickled or run is fetched. A pull that was cut off goes on when it is run
    again.
    Example: didgen pull me/dermoscopy --out runs/pulled
    """
    from didgen.manifests.hub.pull import pull as fetch

    left = fetch(repository, out, "model" if model else "dataset", revision)
    if left:
        print(f"{len(left)} files were left out, which could run code; the first: {left[0]}.")
    print(f"{repository} is in {out}.")
    return then("report", out) if model else ("ls", str(out))
