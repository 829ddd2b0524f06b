"""What a long run decides, shown to a person on stderr; data stays on stdout."""

from rich.console import Console

stderr = Console(stderr=True)


def decisions(values: dict[str, str]) -> None:
    """Print each decision of a run once, as `name: what, because why`."""
    for name, value in values.items():
        stderr.print(f"[bold]{name}[/bold]: {value}", highlight=False)
