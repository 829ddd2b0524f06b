"""Locks: who of several processes on one run directory writes which of its files.

Notable choices:
- The kernel holds the lock and drops it when its process ends, however it ends: a killed process
  leaves no lock behind. Where a file system has no such locks, `filelock` writes the owner's
  process and host into the file instead, and takes over the lock of a process that is gone.
- A store has no locks: two processes on one shard there both make it, to the same bytes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from manifests.files import is_local

LOCKS = ".locks"
"""Folder of a run directory for the lock files; it goes when the last of them does."""


@contextmanager
def claimed(directory: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock `name` of a run directory; yields whether it was got.

    With `wait` it always is, once its owner has let go or died; in a store it always is.
    """
    if not is_local(directory):
        yield True
        return
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / LOCKS / f"{name}.lock"
    lock = FileLock(path)
    try:
        _acquire(lock, path, wait)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        # Gone while it is still held: whoever waits for it notices and makes a new one.
        path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            path.parent.rmdir()


def _acquire(lock: FileLock, path: Path, wait: bool) -> None:
    while True:
        try:
            path.parent.mkdir(exist_ok=True)
            lock.acquire(blocking=wait, poll_interval=0.1)
        except (FileExistsError, FileNotFoundError):
            # The owner of another lock has just removed the folder, unless something else stands
            # there, be it a link to nowhere, or the run directory is gone too.
            folder = path.parent
            if not folder.parent.is_dir() or (os.path.lexists(folder) and not folder.is_dir()):
                raise
            continue
        return
