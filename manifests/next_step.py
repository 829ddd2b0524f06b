"""The next step: the command that a command names when it ended well.

A command returns it, and its group prints it: on stderr, so that what a command writes stays clean.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from typer.core import TyperGroup

from didgen.manifests.errors import printable

NextStep: TypeAlias = tuple[str, ...] | None
"""The words of a command, or None where a command has no next step."""

DRY_RUN = "--dry-run"


def then(*words: str | Path) -> tuple[str, ...]:
    """The `didgen` command of these words."""
    return ("didgen", *map(str, words))


def to_open(file: Path) -> tuple[str, ...]:
    """The command that opens a page in the browser."""
    return ("python", "-m", "webbrowser", "-t", file.resolve().as_uri())


def beside(directory: str | Path, ending: str) -> Path:
    """A new folder beside another, named like it."""
    place = Path(directory)
    return place.with_name(f"{place.name}-{ending}")


def sentence(step: NextStep, given: Sequence[str] = ()) -> str | None:
    """What is said of a next step, quoted for the shell; None where there is none.

    given: the words that the command was called with. A dry run without a step of its own is
    followed by itself, not dry.
    """
    if step is None and DRY_RUN in given:
        step = then(*(word for word in given if word != DRY_RUN))
    return f"Next: {shlex.join(step)}" if step else None


class StepByStep(TyperGroup):
    """A group of commands that says the next step where one ended well."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words of the call, for the next step of a dry run."""
        ctx.obj = [*args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and say its next step."""
        step = super().invoke(ctx)
        if said := sentence(step, ctx.obj):
            print(printable(said), file=sys.stderr)
        return step
