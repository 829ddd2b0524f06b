"""Locks: who of several processes on one run directory writes which of its files.

Notable choices:
- The kernel holds the lock and drops it when its process ends, however it ends: a killed process
  leaves no lock behind. Where a file system has no such locks, `filelock` writes the owner's
  process and host into a file instead, and takes over the lock of a process of the same host that
  is gone. A server without its lock service (ENOLCK) is an error: somebody may hold the lock.
- A store has no locks: two processes on one shard there both make it, to the same bytes.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import is_local, unfinished

LOCKS = ".locks"
"""Folder of a run directory for the lock files; it goes when the last of them does."""

LOCK_ENDS = (".lock", ".owner")
"""How a lock file's name ends: one of the kernel's locks, and one that stands in for it."""


@contextmanager
def claimed(directory: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock `name` of a run directory; yields whether it was got.

    With `wait` it always is, once its owner has let go or died; in a store it always is. A file
    that stands in for a lock outlives an owner that was killed on another host. A DidgenError where
    the folder's server gives no locks.
    """
    if not is_local(directory):
        yield True
        return
    directory.mkdir(parents=True, exist_ok=True)
    try:
        lock = _acquired(directory / LOCKS / f"{name}{LOCK_ENDS[0]}", wait)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        # Gone while it is still held: whoever waits for it notices and makes a new one.
        path = Path(lock.lock_file)
        path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            path.parent.rmdir()


@contextmanager
def sole_writer(directory: Path, name: str, *paths: Path) -> Iterator[None]:
    """Hold the lock `name` of a folder to write these files, without what killed writes left.

    Whoever writes them holds this lock; temporary files of other paths stay.
    """
    with claimed(directory, name):
        for path in unfinished(*paths):
            path.unlink(missing_ok=True)
        yield


def lock_files(directory: Path, name: str = "*") -> list[Path]:
    """The files of the lock `name`, or of all, that are held or were left by killed processes."""
    # The folder goes with the last lock, perhaps while it is looked into.
    with suppress(FileNotFoundError):
        return sorted(p for end in LOCK_ENDS for p in (directory / LOCKS).glob(f"{name}{end}"))
    return []


def _acquired(path: Path, wait: bool) -> BaseFileLock:
    lock: BaseFileLock = FileLock(path)
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
        except OSError as error:
            if error.errno == errno.ENOLCK:
                raise DidgenError(
                    f"{path} cannot be locked, because the folder's server gives no locks; start "
                    "its lock service, mount it with `local_lock=flock` where only this machine "
                    "works in it, or choose another folder."
                ) from None
            # `filelock` itself stands in for a kernel without locks, not for a mount.
            if error.errno != errno.EOPNOTSUPP or isinstance(lock, SoftFileLock):
                raise
            # Nobody can hold the file that was to be locked; the stand-in has a name of its own.
            path.unlink(missing_ok=True)
            lock = SoftFileLock(path.with_suffix(LOCK_ENDS[1]))
        else:
            return lock
