"""The commands that look at what is there: verify and inspect; they parse and print, no more.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from didgen.manifests.errors import printable
from didgen.manifests.next_step import NextStep, then
from didgen.manifests.options import Run, folder, place
from didgen.manifests.progress import terminal_progress


def verify(directory: Run) -> NextStep:
    """Re-hash and open every member of a run's shards: ok, missing, torn, mismatch or extra.

    Example: didgen verify runs/mine
    """
    from rich.console import Console

    from didgen.manifests.runs.verify import verify as judge
    from didgen.manifests.views.folders import refuse_without_shards
    from didgen.manifests.views.terminal import verdict_table

    refuse_without_shards(directory)
    with terminal_progress("verifying") as advance:
        verdicts = judge(directory, progress=advance)
    Console().print(verdict_table(verdicts))
    bad = sum(verdict.status != "ok" for verdict in verdicts)
    if bad:
        print(f"{bad} of {len(verdicts)} files are not ok.")
        _print_state(directory)
        raise typer.Exit(1)
    print(f"All {len(verdicts)} files are ok.")
    return then("report", directory)


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
) -> NextStep:
    """Say what a run or a source manifest holds: counts, failures; with KEY, one sample's record.

    Of an unfinished folder it says what is missing and how to go on; of a folder of such folders,
    what each is.
    Example: didgen inspect runs/mine pair-000003 --picture pair.png
    """
    if picture is not None and key is None:
        raise typer.BadParameter("a picture is of one sample: name its key", param_hint="--picture")
    from rich.console import Console

    from didgen.manifests.views.contents import SourceContents, find, write_picture
    from didgen.manifests.views.contents import inspect as look
    from didgen.manifests.views.terminal import contents_listing, sample_listing

    if key is None and _print_folders(directory):
        return None
    contents = look(directory)
    if key is None:
        Console().print(*contents_listing(contents), sep="\n")
        _print_state(directory)
        return then("caption" if isinstance(contents, SourceContents) else "report", directory)
    found = find(contents, key)
    Console().print(*sample_listing(found), sep="\n")
    if picture is not None:
        write_picture(found, picture)
        print(f"The picture is {picture}.")
        return None
    return then("inspect", directory, key, "--picture", f"{key}.png")


def _print_state(directory: Path) -> None:
    """Print how far an unfinished folder has come, and the command that goes on."""
    from didgen.manifests.views.folders import advice, state_of

    if sentence := advice(directory):
        print(f"{printable(str(directory))}: {state_of(directory)}.")
        print(printable(sentence))


def _print_folders(directory: Path) -> bool:
    """Print what a folder is, or the folders in it are, where it is neither a run nor a source."""
    from didgen.manifests.sources.records import HEADER_FILE
    from didgen.manifests.views.contents import is_run
    from didgen.manifests.views.folders import advice, folders_in, state_of

    if is_run(directory) or (directory / HEADER_FILE).is_file():
        return False
    state = state_of(directory)
    listed = [(directory, state)] if state else [*folders_in(directory)]
    for folder_, said in listed:
        print(f"{printable(str(folder_))}: {said}.")
        if sentence := advice(folder_):
            print(f"  {printable(sentence)}")
    return bool(listed)
