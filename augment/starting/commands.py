"""The command `init`; it parses and prints, no more.

Heavy imports stand inside it, so that `--help` answers at once.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from didgen.manifests.errors import printable
from didgen.manifests.next_step import NextStep
from didgen.manifests.options import DryRun, folder
from didgen.manifests.progress import terminal_progress


def init(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder of photographs, of a public set or of a source.",
            parser=folder,
        ),
    ] = Path(),
    name: Annotated[
        str | None, typer.Option(help="Name of the recipes; else that of the folder.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Licence of your own photographs, an SPDX id or text; else they are private."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the recipes.", parser=folder)
    ] = Path(),
    dry_run: DryRun = False,
) -> NextStep:
    """Look at a folder, say what it holds, and write recipes that fit it and this machine.

    It prints the commands from there to a report. Nothing that is there is overwritten.
    Example: didgen init photos --licence CC-BY-4.0
    """
    from didgen.augment.starting.first_recipes import first_recipes
    from didgen.augment.starting.machine import this_machine
    from didgen.augment.starting.survey import PRIVATE, survey

    with terminal_progress("looking") as advance:
        found = survey(directory, licence or _asked_licence(PRIVATE), progress=advance)
    print(*map(printable, found.sentences()), sep="\n")
    called = name or re.sub(r"[^A-Za-z0-9_-]+", "-", directory.resolve().name)
    recipes = first_recipes(found, this_machine(), called, out)
    print(*recipes.reasons, sep="\n")
    if not dry_run:
        for file, written in recipes.write().items():
            print(f"{file} is {'written' if written else 'there already, and is kept'}.")
    print("The way to a report:", *(f"  {shlex.join(one)}" for one in recipes.commands), sep="\n")
    return None if dry_run else recipes.commands[0]


def _asked_licence(private: str) -> str:
    """The licence that is typed on a terminal, else that of what may not be shared."""
    if sys.stdin.isatty():
        return str(typer.prompt("Licence of the photographs (SPDX id or text)", default=private))
    return private
