"""The next step: the command that a command names when it ended well.

A command returns it, and `cli.py` prints it: on stderr, so that what a command writes stays clean.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

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
