"""Progress: how far long work has come, told to its caller and shown on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, all) as work goes on."""


@contextmanager
def terminal_progress(name: str) -> Iterator[Progress]:
    """A progress bar on stderr, moved by calling what this yields."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)

        def advance(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield advance
