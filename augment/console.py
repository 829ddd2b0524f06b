"""What a long run shows a person: progress and decisions on stderr, data stays on stdout."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

stderr = Console(stderr=True)


def progress_bar(*, disable: bool = False) -> Progress:
    """A bar with count, time left and a free `state` field, on stderr."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
        console=stderr,
        disable=disable,
    )


def decisions(values: dict[str, str]) -> None:
    """Print each decision of a run once, as `name: what, because why`."""
    for name, value in values.items():
        stderr.print(f"[bold]{name}[/bold]: {value}", highlight=False)
