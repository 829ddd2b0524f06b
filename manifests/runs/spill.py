"""The spill: JSON values in a temporary file instead of a list in memory."""

import json
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

BLOCK = 2**18
"""Bytes that a reader holds at once, or one value where that is longer."""


class Spill:
    """JSON values in the order they were added, to be read as often as one likes.

    The file has no name and goes with this object, or with its process. Readers do not disturb
    each other; `end` is where the next value begins.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        self.end = 0
        weakref.finalize(self, self._file.close)

    def append(self, value: Any) -> None:
        """Add a value."""
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        self.end += len(line)

    def read(self, first: int = 0, last: int | None = None) -> Iterator[Any]:
        """The values between two ends, or all that there are now."""
        last = self.end if last is None else last
        self._file.flush()
        rest = b""
        while first < last:
            block = os.pread(self._file.fileno(), min(BLOCK, last - first), first)
            first += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from map(json.loads, lines)
