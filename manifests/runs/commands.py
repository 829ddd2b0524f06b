"""The command that goes on with what was begun in a folder, and what a stopped one says."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from didgen.manifests.errors import DidgenError, printable
from didgen.manifests.next_step import NextStep
from didgen.manifests.options import place

if TYPE_CHECKING:
    from didgen.manifests.runs.order import Order


def going_on(
    resumes: "Mapping[str, Callable[[Order, Path], NextStep]]",
) -> Callable[[Path], NextStep]:
    """The command `resume`, by what goes on with a folder of each command."""

    def resume(
        directory: Annotated[
            Path,
            typer.Argument(
                metavar="DIR",
                help="Folder of a run, a training, a benchmark, an assessment or a source.",
                parser=place,
            ),
        ],
    ) -> NextStep:
        """Go on with whatever was begun in a folder, by the folder's own record.

        What is whole already is kept. Relative paths of the recipe count from the working folder.
        Example: didgen resume runs/mine
        """
        from didgen.manifests.runs.order import read_order

        order = read_order(directory)
        if order.command not in resumes:
            raise DidgenError(f"{directory} was begun by a newer didgen; upgrade to go on with it.")
        return resumes[order.command](order, directory)

    return resume


def say_stopped(arguments: list[str]) -> None:
    """Say what is kept of a command that a signal has stopped, and the command that goes on."""
    from didgen.manifests.runs.order import sentence_when_stopped

    print(printable(sentence_when_stopped(arguments)), file=sys.stderr)
