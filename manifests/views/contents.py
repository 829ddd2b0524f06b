"""Contents: what lies in a run or in a source manifest, finished or not, and one sample of it."""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from didgen.manifests.choices import Config, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, read_json_lines, write_bytes
from didgen.manifests.images import as_mask, decode, encoded, read_image
from didgen.manifests.shards.index import (
    MANIFEST_NAME,
    RUN_NAME,
    Manifest,
    read_manifest,
    read_run,
)
from didgen.manifests.shards.shard import (
    Sidecar,
    Sidecars,
    read_shard,
    read_sidecar,
    sidecar_paths,
    split_of,
)
from didgen.manifests.shards.tally import Tally
from didgen.manifests.sources.records import HEADER_FILE, SourceManifest, SourceRecord
from didgen.manifests.sources.rejections import REJECTED_FILE

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""What a picture is written as, by the ending of its file."""

RUN_KINDS = ("augment", "mix", "synthetic")
"""Recipes whose directories hold shards."""


@dataclass(frozen=True)
class RunContents:
    """A run directory as it lies there.

    manifest: None where the run is not finished; sidecars: those that can be read, split by split;
    tally: what these say together; faults: a sentence for each record that cannot be read.
    """

    directory: Path
    recipe: Mapping[str, Any]
    manifest: Manifest | None
    sidecars: Mapping[Config, Sequence[Sidecar]]
    tally: Tally
    faults: Sequence[str] = ()

    @cached_property
    def counts(self) -> Counter[tuple[Config, Split, str]]:
        """Samples that were made, by config, split and label; "" is no label."""
        counts: Counter[tuple[Config, Split, str]] = Counter()
        for (config, split, _, label), count in self.tally.samples.items():
            counts[config, split, label] += count
        return counts

    @cached_property
    def classes(self) -> list[str]:
        """The labels in the run's own order, then those that only its samples have."""
        known = list(self.manifest.classes) if self.manifest else []
        found = {label for _, _, label in self.counts}
        return [name for name in known if name in found] + sorted(found - {*known})


@dataclass(frozen=True)
class SourceContents:
    """A source manifest, and how many files were rejected when it was made."""

    directory: Path
    manifest: SourceManifest
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class FoundSample:
    """A sample of a run: its sidecar's row, and its members, none where it could not be made."""

    key: str
    config: Config
    shard: str
    split: Split
    row: Mapping[str, Any]
    members: Mapping[str, bytes]

    @cached_property
    def record(self) -> dict[str, Any]:
        """The `.json` member; {} where there is none or it is no object."""
        try:
            record = json.loads(self.members.get("json", b"{}"))
        except (ValueError, RecursionError):
            record = {}
        return record if isinstance(record, dict) else {}

    @property
    def image(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8; one that cannot be decoded is a `DidgenError`."""
        return np.asarray(decode(self.members["jpg"], self._name("jpg")).convert("RGB"))

    @property
    def mask(self) -> np.ndarray | None:
        """The mask of a pair, (H, W) boolean."""
        if "mask.png" not in self.members:
            return None
        name = self._name("mask.png")
        return as_mask(decode(self.members["mask.png"], name), name)

    def picture(self) -> np.ndarray:
        """The image, of a pair with its mask's outline and the mask beside it."""
        if "jpg" not in self.members:
            raise DidgenError(
                f"{self.key} has no picture: it was not made ({self.row.get('reason')})."
            )
        return _beside(self.image, self.mask, self.key)

    def _name(self, extension: str) -> Path:
        return Path(self.shard) / f"{self.key}.{extension}"


@dataclass(frozen=True)
class FoundImage:
    """A real image of a source manifest."""

    manifest: SourceManifest
    record: SourceRecord

    def picture(self) -> np.ndarray:
        """The image, with its mask's outline and the mask beside it where it has one."""
        image = np.asarray(read_image(self.manifest.image_path(self.record)))
        mask = self.manifest.read_mask(self.record) if self.record.mask else None
        return _beside(image, mask, self.record.key)


def inspect(directory: Path) -> RunContents | SourceContents:
    """What a run directory or the folder of a source manifest holds.

    What cannot be read of a run is told among its faults; any other folder is a `DidgenError`.
    """
    if is_run(directory):
        return run_contents(directory)
    if (directory / HEADER_FILE).is_file():
        manifest = SourceManifest.read(directory)
        rejected = directory / REJECTED_FILE
        rows = read_json_lines(rejected) if rejected.is_file() else []
        reasons = Counter(str(row.get("reason")) for row in rows if isinstance(row, dict))
        return SourceContents(directory, manifest, reasons)
    raise DidgenError(
        f"{directory} holds neither a run nor a source manifest; name a folder made by "
        "`didgen augment`, `didgen mix` or `didgen import`."
    )


def is_run(directory: Path) -> bool:
    """Whether a folder was begun as a run of shards, by what it says of itself."""
    return recipe_kind(directory) in RUN_KINDS or (directory / MANIFEST_NAME).is_file()


def recipe_kind(directory: Path) -> str | None:
    """The kind of the recipe that a directory was begun for, None where it says none."""
    path = directory / RUN_NAME
    try:
        kind = read_json(path)["recipe"]["kind"] if path.is_file() else None
    except (DidgenError, KeyError, TypeError):
        return None
    return str(kind)


def run_contents(directory: Path) -> RunContents:
    """What a run directory holds, as far as it can be read."""
    faults: list[str] = []
    recipe: Mapping[str, Any] = {}
    manifest = None
    try:
        recipe = read_run(directory).recipe
    except DidgenError as error:
        faults.append(str(error))
    if (directory / MANIFEST_NAME).exists():
        try:
            manifest = read_manifest(directory)
            recipe = manifest.recipe
        except DidgenError as error:
            faults.append(str(error))
    readable: dict[Config, list[Path]] = {}
    tally = Tally()
    for config in get_args(Config):
        for path in sidecar_paths(directory, config):
            try:
                tally.add(read_sidecar(path))
            except DidgenError as error:
                faults.append(str(error))
            else:
                readable.setdefault(config, []).append(path)
    sidecars = {config: Sidecars(paths) for config, paths in readable.items()}
    return RunContents(directory, recipe, manifest, sidecars, tally, faults)


def find(contents: RunContents | SourceContents, key: str) -> FoundSample | FoundImage:
    """One sample of a run, or one image of a source, by its key.

    A key that is not there is a `DidgenError` that names the nearest ones; so is a sample whose
    shard cannot be read.
    """
    if isinstance(contents, SourceContents):
        for record in contents.manifest.records:
            if record.key == key:
                return FoundImage(contents.manifest, record)
        raise _unknown(key, contents.directory, (r.key for r in contents.manifest.records))
    for config, shards in contents.sidecars.items():
        for sidecar in shards:
            row = next((row for row in sidecar.rows if row["key"] == key), None)
            if row is None:
                continue
            members: Mapping[str, bytes] = {}
            path = contents.directory / config / sidecar.shard
            if row["status"] == "ok":
                found = (members for name, members in read_shard(path) if name == key)
                if (members := next(found, {})) == {}:
                    raise DidgenError(
                        f"{path} does not hold {key}, which its sidecar lists; run `didgen verify` "
                        "to see what is wrong."
                    )
            return FoundSample(key, config, sidecar.shard, split_of(sidecar.shard), row, members)
    rows = (row for shards in contents.sidecars.values() for s in shards for row in s.rows)
    raise _unknown(key, contents.directory, (row["key"] for row in rows))


def write_picture(found: FoundSample | FoundImage, path: Path) -> None:
    """Write a sample's picture as the file's ending says: .png, .jpg, .jpeg or .webp."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise DidgenError(f"{path} is no picture by its name; let it end in .png, .jpg or .webp.")
    write_bytes(path, encoded(found.picture(), form))


def _beside(image: np.ndarray, mask: np.ndarray | None, key: str) -> np.ndarray:
    if mask is None:
        return image
    if mask.shape != image.shape[:2]:
        raise DidgenError(f"The mask of {key} has not the size of its image; make it again.")
    # Counts need no outline, and no Matplotlib.
    from didgen.manifests.views.outlines import pair_panel

    return pair_panel(image, mask)


def _unknown(key: str, directory: Path, known: Iterable[str]) -> DidgenError:
    near = nearest(key, known)
    reported = f"; the nearest keys are {', '.join(near)}" if near else ", which holds none"
    return DidgenError(f"{key} is in no record of {directory}{reported}.")


def nearest(key: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The keys that are most like one, the nearest first; of all there are, only these are held."""
    matcher = SequenceMatcher()
    matcher.set_seq2(key)
    best: list[tuple[float, str]] = []
    for other in known:
        matcher.set_seq1(other)
        if len(best) < count:
            heapq.heappush(best, (matcher.ratio(), other))
        # The exact figure takes longest, and is no larger than these two.
        elif min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= best[0][0]:
            heapq.heappushpop(best, (matcher.ratio(), other))
    return [other for _, other in sorted(best, reverse=True)]
