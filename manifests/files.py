"""Files: atomic writes, hashes, and paths that may not leave their folder.

A place is a folder or, by `located`, a part of an object store; what is written there appears at
once and whole, by a rename in a folder and by a single put in a store.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from didgen.manifests.errors import DidgenError

TEMPORARY_SUFFIX = ".tmp"

LITTER = {
    *(".ds_store", ".localized", ".directory", "icon\r"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
}
"""Files that systems put into folders unasked, in lower case."""

STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory")
"""Kinds of URL whose put is atomic: an object is there whole or not at all."""


def local(place: Any) -> Any:
    """A place on this machine as it is; what names none, such as a URL, is a ValueError."""
    if str(place) == "":
        raise ValueError("the path is empty; name a folder or file")
    if "\0" in str(place):
        raise ValueError("the path holds a zero byte; name a folder or file")
    if "://" in str(place):
        raise ValueError(f"{place} is a URL; this takes a folder or file of this machine")
    return place


def located(text: str) -> Path:
    """The place that a text names: a folder, or a part of a store where it is a URL (by fsspec).

    Raises DidgenError for a URL of another kind than `STORES`, and for a bucket that cannot be
    reached.
    """
    if not text:
        raise DidgenError("The path is empty; name a folder, or the URL of a store.")
    kind, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if kind in ("file", "local"):
        return Path(rest)
    if kind not in STORES:
        raise DidgenError(
            f"{text} is no object store ({', '.join(STORES)}), which writes a file at once or not "
            "at all; mount it and name the folder."
        )
    from upath import UPath

    try:
        # Another process may write there too, so that no listing is remembered.
        place = UPath(text, use_listings_cache=False)
        if bucket := place.drive:
            place.fs.info(bucket)
    except ImportError as error:
        raise DidgenError(
            f"{text} needs a package that is not installed ({error}); for s3: "
            "pip install 'didgen[s3]'."
        ) from None
    except Exception as error:  # noqa: BLE001 - each store has exceptions of its own
        raise DidgenError(
            f"{text} cannot be reached ({_reason(error)}); check the address, the bucket and the "
            "credentials."
        ) from None
    # It does what a Path does, without being one.
    return cast(Path, place)


def is_local(path: Path) -> bool:
    """Whether a place is a folder or file of this machine and not in a store."""
    return isinstance(path, Path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError name `path`: a write to a full disk does not say which file it was."""
    try:
        yield
    except OSError as error:
        # What has no number says its reason in words, which a name would take the place of.
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` for binary writing; on success fsync and rename it.

    Its name begins with that of `path` and says whose it is, so no two processes share one. After
    an exception it is removed and whatever stood at `path` is untouched. In a store, `path` is put
    there in one piece instead.
    """
    if not is_local(path):
        with _put(path) as file:
            yield file
        return
    temporary = _temporary(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(path), open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have a file's bytes, or the names in a folder, written out."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems write names out by themselves, and do not know this for a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other process and no file of the user's has."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f"{path.name}.{owner}{TEMPORARY_SUFFIX}")


def is_abandoned(temporary: Path) -> bool:
    """Whether a temporary file or folder is of a process of this machine that is gone."""
    ours, end = map(re.escape, (f".{socket.gethostname()}", TEMPORARY_SUFFIX))
    made_by = re.search(rf"{ours}-(\d+)-[0-9a-f]+{end}$", temporary.name)
    if made_by is None:
        return False
    try:
        os.kill(int(made_by[1]), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


@contextmanager
def _put(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of the temporary folder for writing; on success it becomes an object."""
    with tempfile.NamedTemporaryFile() as file:
        yield cast(IO[bytes], file)
        file.flush()
        store = cast(Any, path)
        try:
            store.fs.put_file(file.name, store.path)
        except Exception as error:  # noqa: BLE001 - each store has exceptions of its own
            raise DidgenError(
                f"{path} could not be written ({_reason(error)}); run the command again to go on."
            ) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


@contextmanager
def kept_whole(*paths: Path) -> Iterator[None]:
    """Remove files, the marker first, where an exception or a signal ends their writing.

    It may come when the last of them has its name already and only the folder is not yet synced.
    """
    try:
        yield
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise


def clear(path: Path) -> None:
    """Remove a file, and what killed writes of it left; nobody may be writing it."""
    for one in (path, *unfinished(path)):
        one.unlink(missing_ok=True)


def leftovers(directory: Path) -> list[Path]:
    """The temporary files in a folder, in use or left by killed writes."""
    return sorted(path for path in directory.glob(f"*{TEMPORARY_SUFFIX}") if is_temporary(path))


def unfinished(*paths: Path) -> list[Path]:
    """The temporary files of writes to these paths, in use or left by killed writes."""
    return [
        leftover
        for path in paths
        for leftover in leftovers(path.parent)
        if leftover.name.startswith(f"{path.name}.")
    ]


def is_temporary(path: Path) -> bool:
    """Whether a path is a file that `atomic_file` writes to: no folder, and none of the user's."""
    name = re.search(rf"\.[^/]+-\d+-[0-9a-f]+{re.escape(TEMPORARY_SUFFIX)}$", path.name)
    return name is not None and not path.is_dir()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a new folder beside `path` to fill; on success it is renamed to `path`.

    After an exception it is removed, and so is, before, what killed processes of this machine left
    of `path`. A `path` that exists already is a `DidgenError`.
    """
    refuse_existing(path)
    for other in path.parent.glob(f"*{TEMPORARY_SUFFIX}"):
        if other.name.startswith(f"{path.name}.{socket.gethostname()}-") and is_abandoned(other):
            shutil.rmtree(other, ignore_errors=True)
    temporary = _temporary(path)
    temporary.mkdir(parents=True)
    try:
        with naming(path):
            yield temporary
            refuse_existing(path)
            # Where the machine stops, a name must not stand for what was not written out.
            for written in _below(temporary):
                _sync(written)
            _sync(temporary)
        try:
            os.replace(temporary, path)
        except OSError:
            # Another process may have been a moment faster.
            refuse_existing(path)
            raise
        _sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _below(folder: Path) -> Iterator[Path]:
    """All that lies below a folder, one by one: a list of it may be long."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))
            yield Path(entry.path)


def refuse_existing(path: Path) -> None:
    """Raise a `DidgenError` if anything stands at `path`, be it a link to nowhere."""
    if os.path.lexists(path):
        raise DidgenError(f"{path} exists already; name another folder or delete it first.")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path) as file:
        file.write(data)


def write_json(path: Path, value: Any, *, rows: str = "") -> None:
    """Write `value` to `path` as indented UTF-8 JSON, atomically and with a stable key order.

    The items of its list `rows` stand on a line each: the standard library indents so slowly that
    it took longer than a shard's tar.
    """
    short = value | {rows: []} if rows else value
    text = json.dumps(short, indent=2, sort_keys=True, ensure_ascii=False)
    if rows:
        lines = (json.dumps(row, sort_keys=True, ensure_ascii=False) for row in value[rows])
        # Within a string no line breaks, so that this can stand only where it was put.
        before = f"\n  {json.dumps(rows)}: ["
        text = text.replace(
            f"{before}]", before + ",".join(f"\n    {line}" for line in lines) + "\n  ]"
        )
    write_bytes(path, f"{text}\n".encode())


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line to `path`, atomically; row order is kept."""
    with atomic_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Parse a JSON file; a missing or malformed one is a `DidgenError` that names it."""
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_once)
    except FileNotFoundError:
        raise DidgenError(f"{path} does not exist; check the path or make it first.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DidgenError(f"{path} is not readable JSON ({error}); make it again.") from None


def read_json_lines(path: Path) -> list[Any]:
    """Parse a file of one JSON value a line; errors name the file and the line."""
    rows = []
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise DidgenError(f"{path} does not exist; check the path or make it first.") from None
    except OSError as error:
        raise DidgenError(f"{path} cannot be read ({error}); check its rights.") from None
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line, object_pairs_hook=_once))
        except (ValueError, RecursionError) as error:
            raise DidgenError(
                f"{path} line {number} is not JSON ({error}); make it again."
            ) from None
    return rows


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an object; of one that comes twice the last would count in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field comes twice")
    return found


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_litter(name: str) -> bool:
    """Whether a file is one that a system puts beside others, by its name: never a user's own."""
    return name.lower() in LITTER or name.startswith("._")


def inside(root: Path, relative: str) -> Path:
    """Join a POSIX path of a manifest or tar member to `root`, refusing one that leaves it."""
    path = PurePosixPath(relative)
    foreign = "\\" in relative or "\0" in relative
    if not path.parts or path.is_absolute() or ".." in path.parts or foreign:
        raise DidgenError(f"The path {relative!r} leaves its folder {root}; correct the manifest.")
    return root / path
