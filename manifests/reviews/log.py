"""The log: `reviews.jsonl` beside a run, to which several reviewers append at once.

Notable choices:
- A line counts once it ends in a line break. It is written under a lock, in one piece, and synced
  before `append` returns. What a crash left of a line was never acknowledged: readers pass it by,
  and the next writer cuts it off.
- Nothing else is ever changed: who changes a decision appends another.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import naming
from didgen.manifests.locks import claimed
from didgen.manifests.reviews.record import LINE, Guess, Review

LOG_NAME = "reviews.jsonl"

LOCK = "reviews"


class ReviewLog:
    """The lines of a run's `reviews.jsonl`; each is parsed once, however often they are read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / LOG_NAME
        self._lines: list[Review | Guess] = []
        self._read = 0
        self._reading = threading.Lock()

    def reviews(self) -> list[Review]:
        """The reviews so far, in their order; a line that is none is a `DidgenError`."""
        return [line for line in self._all() if isinstance(line, Review)]

    def guesses(self) -> list[Guess]:
        """The guesses so far, in their order; raises what `reviews` raises."""
        return [line for line in self._all() if isinstance(line, Guess)]

    def append(self, line: Review | Guess) -> None:
        """Write a line; when this returns, it outlives a crash of the machine.

        An exception leaves the file as it was.
        """
        data = line.model_dump_json(exclude_none=True).encode() + b"\n"
        with claimed(self.directory, LOCK), naming(self.path), _opened(self.path) as descriptor:
            end = _whole_end(descriptor)
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
            try:
                _write(descriptor, data)
                os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, end)
                raise

    def _all(self) -> list[Review | Guess]:
        """All lines, those that were added since the last call read from the file."""
        with self._reading:
            self._read_on()
            return [*self._lines]

    def _read_on(self) -> None:
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._read:
                    # Somebody put another file there.
                    self._lines, self._read = [], 0
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            self._lines, self._read = [], 0
            return
        except OSError as error:
            raise DidgenError(
                f"{self.path} cannot be read ({error.strerror}); check its rights."
            ) from None
        whole = data[: data.rfind(b"\n") + 1]
        for text in whole.splitlines():
            self._lines.append(_parsed(text, self.path, len(self._lines) + 1))
        self._read += len(whole)


def _parsed(text: bytes, path: Path, number: int) -> Review | Guess:
    try:
        return LINE.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "line"
        raise DidgenError(
            f"{path} line {number} is no review ({where}: {first['msg']}); correct or delete the "
            "line."
        ) from None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The file's descriptor, for reading and writing; a new file's name is synced too."""
    new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if new:
            _sync_folder(path.parent)
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some file systems write names out by themselves, and do not know this for a folder.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole_end(descriptor: int) -> int:
    """Where the last whole line of a file ends."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end:
        start = max(end - 4096, 0)
        os.lseek(descriptor, start, os.SEEK_SET)
        if (found := os.read(descriptor, end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
