"""Shards: samples in reproducible WebDataset tars, each with a sidecar, and the way back."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Literal, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from didgen.manifests.choices import Config, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import atomic_file, clear, kept_whole, read_json, write_json
from didgen.manifests.sources.records import SPLITS

LAYOUTS: dict[Config, tuple[frozenset[str], ...]] = {
    "images": (frozenset({"cls", "jpg", "json"}),),
    "pairs": (
        frozenset({"jpg", "json", "mask.png"}),
        frozenset({"cls", "jpg", "json", "mask.png"}),
    ),
}
"""The members that samples may have; one choice for a whole config."""

SHARD_NAME = rf"^(images|pairs)(-({'|'.join(SPLITS)}))?-\d{{6,}}\.tar$"
INFO_NAME = "_info.json"
MAX_MEMBER_BYTES = 256 * 2**20
"""Members of more bytes than this are refused before they are read."""

# tarfile's own 10 KiB cost a fifth of the speed: it copies what is left of a member at each write.
_BUFFER = 64 * 2**10

# The first character is narrower than the rest: `datasets` skips members that begin with "__".
# The length keeps every member name within the 100 bytes of a plain tar header.
_KEY = r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}"
_MEMBER = re.compile(rf"({_KEY})\.([a-z0-9]+(?:\.[a-z0-9]+)*)")

Model = TypeVar("Model", bound=BaseModel)


class TornError(DidgenError):
    """A tar that ends before its end: a write or a copy of it was cut off."""


@dataclass(frozen=True)
class Sample:
    """One sample: `members` maps an extension of `LAYOUTS` to its bytes, `row` goes to the sidecar.

    The JSON members of a config should all have the same fields of the same types, since
    `datasets` infers its columns from the first few. A key must be one that `check_key` takes.
    """

    key: str
    members: dict[str, bytes]
    row: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_key(self.key)


@dataclass(frozen=True)
class Failure:
    """A planned sample that could not be made, with the reason; it becomes a sidecar row."""

    key: str
    reason: str
    row: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_key(self.key)


@dataclass(frozen=True)
class Stamp:
    """What each shard of a run says of its making: the run's fingerprint, and versions by name."""

    fingerprint: str
    versions: Mapping[str, str] = field(default_factory=dict)


class Sidecar(BaseModel):
    """The record beside a shard, written after it: a shard without one does not count.

    `rows` has one row a planned sample, with `key`, `status` ("ok" or "failed") and, if failed,
    `reason`; `samples` counts the "ok" ones. `timings` are seconds spent in making and writing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    config: Config
    shard: str = Field(pattern=SHARD_NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    samples: int = Field(ge=0)
    fingerprint: str
    versions: dict[str, str]
    didgen: str
    timings: dict[str, float]
    rows: list[dict[str, Any]]

    @field_validator("rows")
    @classmethod
    def _rows_have_key_and_status(cls, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in rows:
            if not isinstance(row.get("key"), str) or row.get("status") not in ("ok", "failed"):
                raise ValueError("a row lacks its key or its status")
        return rows

    @model_validator(mode="after")
    def _samples_are_counted(self) -> "Sidecar":
        if self.samples != len(self.kept) or len(self.rows) != len({r["key"] for r in self.rows}):
            raise ValueError("the count of samples does not fit the rows, or a key is there twice")
        return self

    @property
    def kept(self) -> dict[str, dict[str, Any]]:
        """The rows of the samples in the tar, by key."""
        return {row["key"]: row for row in self.rows if row["status"] == "ok"}


def shard_path(directory: Path, config: Config, index: int, split: Split | None = None) -> Path:
    """The tar of shard `index`, or of one of a split's shards; its sidecar ends in `.json`."""
    # The split stands in the name, so that no pattern takes a test image for training.
    stem = f"{config}-{split}" if split else config
    return directory / config / f"{stem}-{index:06d}.tar"


def is_shard_name(name: str, config: Config) -> bool:
    """Whether `name` is the file name of a shard of `config`."""
    return name.startswith(f"{config}-") and re.fullmatch(SHARD_NAME, name) is not None


def split_of(name: str) -> Split:
    """The split that a shard's file name says; one without a split is for training."""
    return next((split for split in SPLITS if f"-{split}-" in name), "train")


def write_shard(
    directory: Path,
    config: Config,
    index: int,
    results: Iterable[Sample | Failure],
    stamp: Stamp,
    split: Split | None = None,
) -> Sidecar:
    """Write one shard and then its sidecar; the same samples always give the same tar bytes.

    `results` is consumed while writing, so it may make its samples on the way. What stood at the
    shard's place, and what killed writes left beside it, is removed first; an exception, also one
    of `results`, leaves nothing there. Nobody else may be writing the shard (`manifests.locks`).
    Samples whose members do not fit the config or differ from the first, and keys that come
    twice, are a `DidgenError`.
    """
    tar_path = shard_path(directory, config, index, split)
    sidecar_path = tar_path.with_suffix(".json")
    # The marker goes first: an old sidecar must never stand beside a new tar.
    clear(sidecar_path)
    clear(tar_path)

    rows: dict[str, dict[str, Any]] = {}
    layouts = LAYOUTS[config]
    started, writing = perf_counter(), 0.0
    with kept_whole(sidecar_path, tar_path), atomic_file(tar_path) as file:
        # A tar opened as a stream needs nothing of its file but `write`.
        stream: Any = _HashedFile(file)
        with tarfile.open(None, "w|", stream, _BUFFER, format=tarfile.USTAR_FORMAT) as tar:
            for result in results:
                arrived = perf_counter()
                if result.key in rows:
                    raise DidgenError(f"{tar_path} would hold the key {result.key!r} twice.")
                if isinstance(result, Failure):
                    rows[result.key] = {**result.row, "status": "failed", "reason": result.reason}
                else:
                    layouts = (_checked_layout(result, layouts, tar_path),)
                    _add(tar, result)
                    rows[result.key] = {**result.row, "status": "ok"}
                writing += perf_counter() - arrived
            closing = perf_counter()
    with kept_whole(sidecar_path, tar_path):
        ended = perf_counter()
        writing += ended - closing
        sidecar = Sidecar(
            config=config,
            shard=tar_path.name,
            sha256=stream.digest.hexdigest(),
            bytes=stream.size,
            samples=sum(row["status"] == "ok" for row in rows.values()),
            fingerprint=stamp.fingerprint,
            versions=dict(stamp.versions),
            didgen=version("didgen"),
            timings={"make": ended - started - writing, "write": writing},
            rows=[{**row, "key": key} for key, row in rows.items()],
        )
        write_json(sidecar_path, sidecar.model_dump(mode="json"), rows="rows")
    return sidecar


def read_record(model: type[Model], path: Path) -> Model:
    """Read a JSON file as `model`; a missing or ill-formed one is a `DidgenError`."""
    try:
        return model.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise DidgenError(
            f"{path} is not what didgen writes there ({where}: {first['msg']}); "
            "restore it or delete it and run `didgen augment` again."
        ) from None


def read_sidecar(path: Path) -> Sidecar:
    """Read the sidecar at `path`; a missing or ill-formed one is a `DidgenError`."""
    return read_record(Sidecar, path)


class Sidecars(Sequence[Sidecar]):
    """Sidecars in the order of their paths, each read from its file whenever it is asked for.

    So a pass over the rows of a run holds those of one shard. `of`: the SHA-256 of each tar; the
    sidecar of another one is a `DidgenError` then, and so is what `read_sidecar` cannot read.
    """

    def __init__(self, paths: Iterable[Path], of: Iterable[str] = ()) -> None:
        self.paths, self.of = tuple(paths), tuple(of)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, place: int) -> Sidecar: ...
    @overload
    def __getitem__(self, place: slice) -> "Sidecars": ...
    def __getitem__(self, place: int | slice) -> "Sidecar | Sidecars":
        if isinstance(place, slice):
            return Sidecars(self.paths[place], self.of[place])
        path = self.paths[place]
        sidecar = read_sidecar(path)
        if self.of and sidecar.sha256 != self.of[place]:
            raise DidgenError(f"{path} is that of another shard by now; run the command again.")
        return sidecar

    def __iter__(self) -> Iterator[Sidecar]:
        return (self[place] for place in range(len(self)))


def sidecar_paths(directory: Path, config: Config) -> list[Path]:
    """Where the sidecars of a config lie, split by split, in order."""
    paths = sorted((directory / config).glob(f"{config}-*.json"))
    return sorted(paths, key=lambda path: SPLITS.index(split_of(path.name)))


def read_sidecars(directory: Path, config: Config) -> Sidecars:
    """All sidecars of a config, split by split, in order; none at all is a `DidgenError`."""
    paths = sidecar_paths(directory, config)
    if not paths:
        raise DidgenError(f"{directory / config} holds no shards; run `didgen augment` first.")
    return Sidecars(paths)


def read_shard(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The key and members of each sample of a tar, in file order, read without extracting.

    Stricter than `tarfile`, which skips a damaged header in silence and follows links: every
    member is a plain file named `KEY.EXTENSION`, and nothing but padding follows the last. A tar
    that is cut off is a `TornError`, anything else out of the ordinary a `DidgenError`.
    """
    seen: set[str] = set()
    for key, group in groupby(_read_members(path), key=lambda member: member[0]):
        members: dict[str, bytes] = {}
        for _, extension, data in group:
            if key in seen or extension in members:
                raise DidgenError(
                    f"{path} holds the member {key}.{extension} twice or apart from its sample; "
                    "delete the shard and its sidecar and run `didgen augment` again."
                )
            members[extension] = data
        seen.add(key)
        yield key, members


def iterate(directory: Path, config: Config) -> Iterator[Sample]:
    """All samples of a config of a run directory, in the order they were planned.

    A shard that is missing, torn or does not hold what its sidecar says is a `DidgenError`.
    """
    for sidecar in read_sidecars(directory, config):
        path = directory / config / sidecar.shard
        rows = sidecar.kept
        for key, members in read_shard(path):
            if (row := rows.pop(key, None)) is None:
                break
            extras = {name: v for name, v in row.items() if name not in ("key", "status")}
            yield Sample(key, members, extras)
        else:
            if not rows:
                continue
        raise DidgenError(
            f"{path} does not hold the samples its sidecar lists; "
            "run `didgen verify` to see what is wrong."
        )


class _HashedFile:
    """A file for a tar stream that hashes and counts what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)


def check_key(key: str) -> None:
    """Raise DidgenError for a key that no member of a shard can have."""
    if not re.fullmatch(_KEY, key):
        raise DidgenError(
            f"The sample key {key!r} is not made of letters, digits, '_' and '-' only "
            "(80 at most, a letter or digit first); rename it."
        )


def _checked_layout(
    sample: Sample, layouts: tuple[frozenset[str], ...], path: Path
) -> frozenset[str]:
    layout = frozenset(sample.members)
    if layout not in layouts:
        wanted = " or ".join(", ".join(sorted(choice)) for choice in layouts)
        raise DidgenError(
            f"{path} takes samples with the members {wanted}, "
            f"but {sample.key} has {', '.join(sorted(layout))}."
        )
    return layout


def _add(tar: tarfile.TarFile, sample: Sample) -> None:
    # webdataset's TarWriter gives the same bytes (a test compares), but importing it loads torch.
    for extension in sorted(sample.members):
        # A bare TarInfo has the fixed header wanted: time, owner and group 0, mode 644, no names.
        member = tarfile.TarInfo(f"{sample.key}.{extension}")
        member.size = len(sample.members[extension])
        tar.addfile(member, io.BytesIO(sample.members[extension]))


def _read_members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    mend = "delete the shard and its sidecar and run `didgen augment` again."
    if not path.is_file():
        raise DidgenError(f"{path} does not exist; run `didgen augment` again to make it.")
    with path.open("rb") as file:
        while any(block := _read_exactly(file, tarfile.BLOCKSIZE, path)):
            try:
                member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.TarError as error:
                raise DidgenError(f"{path} has a damaged header ({error}); {mend}") from None
            name = _MEMBER.fullmatch(member.name)
            if name is None or member.type != tarfile.REGTYPE:
                raise DidgenError(
                    f"{path} has the member {member.name!r}, which is not a plain file named "
                    f"KEY.EXTENSION; do not unpack it, {mend}"
                )
            if not 0 <= member.size <= MAX_MEMBER_BYTES:
                raise DidgenError(f"{path} has the oversized member {member.name}; {mend}")
            data = _read_exactly(file, member.size, path)
            _read_exactly(file, -member.size % tarfile.BLOCKSIZE, path)
            yield name[1], name[2], data
        # The end is two zero blocks and zeros up to a full record; the loop took the first.
        rest = _read_exactly(file, tarfile.BLOCKSIZE, path) + file.read(tarfile.RECORDSIZE)
        if any(rest) or file.read(1):
            raise DidgenError(f"{path} goes on after its end; {mend}")


def _read_exactly(file: IO[bytes], size: int, path: Path) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise TornError(
            f"{path} ends in the middle; delete it and its sidecar and run `didgen augment` again."
        )
    return data
