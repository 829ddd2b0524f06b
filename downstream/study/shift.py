"""A shift of a stage: its didgen command for so many minutes, and what it leaves when it ends.

Snakemake runs this module as a process of its own, once for each shift. It loads nothing heavy.

Notable choices:
- A command that is still at work when the minutes are over is stopped like by a user, and goes on
  in the next shift. Only the last shift must see it end.
- What ends a stage is its own record, beside what Snakemake keeps, which deletes the output of a
  job that fails.
- On one machine a shift ends with the `didgen study` that it is of, even where that was killed: it
  looks whether its session is still the one at work. The lock of that process, which the kernel
  drops, says so, and the session's name tells it from one that was started since.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Literal, NoReturn

from didgen.downstream.study.hours import FINISHED_NAME
from didgen.downstream.study.published import publish
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, write_json
from didgen.manifests.locks import claimed
from didgen.manifests.shards.index import MANIFEST_NAME

LOG_NAME, SECONDS_NAME = "log.txt", "seconds.json"

STUDY_LOCK, STAGE_LOCK, SESSION_NAME = "study", "stage", "session.json"

SESSION = "DIDGEN_STUDY_SESSION"
"""The variable of the environment that names the session a shift is of, on one machine."""

PATIENCE = 300.0
"""Seconds that a command has to leave once it is asked to."""

STOPPED: Literal["stopped"] = "stopped"

LOOK = 2.0
"""Seconds between looks at whether the session is still at work."""


def run_shift(plan: Mapping[str, Any], name: str, number: int) -> None:
    """Carry out the shift `number` of a stage, and write the file that Snakemake waits for.

    A command that fails, and one that the last shift does not see end, are a `DidgenError`.
    """
    stage = plan["stages"][name]
    folder = Path(stage["folder"])
    _still_at_work(stage["name"])
    with _alone(folder):
        _still_at_work(stage["name"])
        if not (folder / FINISHED_NAME).is_file():
            _go_on(plan, stage, folder, last=number == stage["shifts"])
        write_json(Path(stage["outputs"][number - 1]), {"stage": stage["name"], "shift": number})


def orphaned() -> bool:
    """Whether the session that a shift is of has ended; shifts work in the folder of the state."""
    session, place = os.environ.get(SESSION), Path(SESSION_NAME)
    if session is None:
        return False
    if not place.is_file() or read_json(place).get("session") != session:
        return True
    with claimed(Path(), STUDY_LOCK, wait=False) as free:
        return free


def _still_at_work(name: str) -> None:
    if orphaned():
        raise _ended(name)


def _ended(name: str) -> DidgenError:
    return DidgenError(f"{name}: its `didgen study` has ended; start it again to go on.")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other shifts out: of all stages on one machine, else of this stage."""
    lock = (Path(), STAGE_LOCK) if SESSION in os.environ else (folder, "shift")
    with claimed(*lock, wait=False) as got:
        if got:
            yield
            return
    print("A stage of a study that was killed is still leaving; waiting for it.", flush=True)
    with claimed(*lock):
        yield


def _go_on(plan: Mapping[str, Any], stage: Mapping[str, Any], folder: Path, *, last: bool) -> None:
    print(f"{stage['name']}: begun; its log is {folder / LOG_NAME}", flush=True)
    before = read_json(folder / SECONDS_NAME) if (folder / SECONDS_NAME).is_file() else []
    began = monotonic()
    log, minutes = folder / LOG_NAME, plan["minutes"]
    code = for_minutes(stage["command"], Path(plan["folder"]), log, minutes, orphaned)
    seconds = [*before, monotonic() - began]
    write_json(folder / SECONDS_NAME, seconds)
    failures = _failures(stage, folder) if code == 1 else 0
    if code == 0 or failures:
        finished = {
            "name": stage["name"],
            "digest": stage["digest"],
            "command": stage["kind"],
            "work": stage["work"],
            "seconds": sum(seconds),
            "failures": failures,
        }
        write_json(folder / FINISHED_NAME, finished)
        if plan["records"] is not None:
            publish(folder, Path(plan["state"]), Path(plan["records"]))
        print(f"{stage['name']}: done after {sum(seconds) / 60:.0f} minutes.", flush=True)
    elif code == STOPPED:
        raise _ended(stage["name"])
    elif code is not None:
        raise DidgenError(
            f"{stage['name']} ended with the exit code {code}: {_last_line(folder / LOG_NAME)} "
            f"(all of it is in {folder / LOG_NAME})"
        )
    elif last:
        raise DidgenError(
            f"{stage['name']} was not done after {sum(seconds) / 3600:.1f} hours, and nothing is "
            "lost; give it more `hours` in the study's recipe, and run `didgen study` again."
        )


def for_minutes(
    command: Sequence[str],
    cwd: Path,
    log: Path,
    minutes: float,
    stopped: Callable[[], bool] = lambda: False,
) -> int | Literal["stopped"] | None:
    """The exit code of a command whose output goes to a file; None where its time was over, and
    `STOPPED` where it was `stopped`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        process = subprocess.Popen(  # noqa: S603 - the command of the plan
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        end = monotonic() + minutes * 60
        try:
            while (left := end - monotonic()) > 0:
                # Asked once: a new session may answer otherwise a moment later.
                if stopped():
                    return STOPPED
                try:
                    return process.wait(min(LOOK, left))
                except subprocess.TimeoutExpired:
                    continue
            return None
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Have a process leave, by force where it does not; nothing where it has left."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failures(stage: Mapping[str, Any], folder: Path) -> int:
    """How many samples a whole run lacks, which its command reports by its exit code."""
    path = folder / "out" / MANIFEST_NAME
    if stage["kind"] != "augment" or not path.is_file():
        return 0
    return int(read_json(path)["totals"]["failures"])


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def main(arguments: Sequence[str]) -> None:
    """`python -m didgen.downstream.study.shift PLAN STAGE NUMBER`."""
    signal.signal(signal.SIGTERM, _terminate)
    plan, name, number = arguments
    try:
        run_shift(read_json(Path(plan)), name, int(number))
    except DidgenError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
