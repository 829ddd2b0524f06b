"""Progress: how far long work has come, told to its caller, a terminal, a log or a machine.

Notable choices:
- A terminal gets bars. A file or a pipe gets a line at most every `EVERY` seconds, and none of work
  that is done by then. With `--json` each line is an object.
- All of it goes to stderr: what a command answers stays alone on stdout.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import Task

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, all) as work goes on."""

EVERY = 30.0
"""Seconds between two lines of a log."""

EVERY_JSON = 1.0
"""Seconds between two lines for a machine."""

PERIOD = 600.0
"""Seconds back over which the rate is taken: a step may take a minute."""

_as_json = False


def for_machines() -> None:
    """From now on progress is told as a JSON object a line."""
    global _as_json
    _as_json = True


def progress_bar(*, disable: bool = False) -> "Bars":
    """Bars with count, rate, time left and a free `state` field; lines where there is no terminal.

    A context manager; `add_task(name, total=, state="")` begins a bar, `update` and `advance` move
    it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if _as_json or disable or not console.is_terminal:
        return _lines(disable=disable)
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _rate_column(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
        console=console,
        speed_estimate_period=PERIOD,
    )


@contextmanager
def terminal_progress(name: str) -> Iterator[Progress]:
    """One bar on stderr, or lines, moved by calling what this yields."""
    with progress_bar() as bars:
        task = bars.add_task(name, total=None, state="")

        def advance(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield advance


def announce(what: str) -> None:
    """Say what is loaded, before imports that take seconds; nothing where they were made before."""
    if "torch" in sys.modules:
        return
    line = json.dumps({"loading": what}) if _as_json else f"Loading {what} ..."
    print(line, file=sys.stderr, flush=True)


def rate_in_words(speed: float | None) -> str:
    """A rate as people say it: so many a second, or so many seconds each."""
    if not speed:
        return ""
    return f"{speed:,.1f}/s" if speed >= 1 else f"{1 / speed:,.1f} s each"


def time_in_words(seconds: float) -> str:
    """A time as people say it, to the minute."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} hours"
    return f"{round(seconds / 60)} minutes" if seconds >= 90 else "about a minute at most"


def line_of(task: "Task") -> str:
    """How far a task is, in one line of a log."""
    of = "" if task.total is None else f" of {task.total:,.0f} ({task.percentage:.0f} %)"
    said = [f"{task.description}: {task.completed:,.0f}{of}", rate_in_words(task.speed)]
    if task.time_remaining is not None:
        said.append(f"{timedelta(seconds=round(task.time_remaining))} left")
    said.append(str(task.fields.get("state", "")))
    return ", ".join(part for part in said if part)


def object_of(task: "Task") -> dict[str, Any]:
    """How far a task is, for a machine; rate in items a second, time left in seconds."""
    return {
        "task": task.description,
        "done": task.completed,
        "total": task.total,
        "rate": None if task.speed is None else round(task.speed, 4),
        "left": task.time_remaining,
        "state": str(task.fields.get("state", "")),
    }


def _rate_column() -> Any:
    from rich.progress import ProgressColumn
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """The rate of a task."""

        def render(self, task: "Task") -> Text:
            return Text(rate_in_words(task.finished_speed or task.speed))

    return RateColumn()


def _lines(*, disable: bool) -> "Bars":
    """What keeps the tasks as bars do, and says a line of each now and then."""
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    class Lines(Bars):
        """Bars that are never drawn."""

        def __init__(self) -> None:
            super().__init__(disable=True, speed_estimate_period=PERIOD)
            self.every = EVERY_JSON if _as_json else EVERY
            self.said: dict[TaskID, float] = {}

        def update(self, task_id: TaskID, **changes: Any) -> None:
            super().update(task_id, **changes)
            self._say(task_id)

        def advance(self, task_id: TaskID, advance: float = 1) -> None:
            super().advance(task_id, advance)
            self._say(task_id)

        def _say(self, task_id: TaskID) -> None:
            now = time.monotonic()
            # A machine is told of the first and the last item too.
            before = self.said.setdefault(task_id, -self.every if _as_json else now)
            task = self._tasks[task_id]
            if disable or not (now - before >= self.every or (_as_json and task.finished)):
                return
            self.said[task_id] = now
            line = json.dumps(object_of(task)) if _as_json else line_of(task)
            print(line, file=sys.stderr, flush=True)

    return Lines()
