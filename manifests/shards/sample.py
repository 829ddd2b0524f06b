"""Samples opened: every member is what its name says, and the record what its row says."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import decode
from didgen.manifests.shards.index import MANIFEST_NAME, Manifest, by_maker
from didgen.manifests.shards.rows import difference
from didgen.manifests.shards.shard import LAYOUTS, read_shard

REMAKE = "delete it and its sidecar and run `didgen augment` again"

_SIGNATURES = {"jpg": b"\xff\xd8\xff", "mask.png": b"\x89PNG\r\n\x1a\n"}


def open_samples(
    tar: Path,
    config: Config,
    rows: Mapping[str, Mapping[str, Any]],
    manifest: Manifest | None,
    keys: Collection[str] | None = None,
) -> Iterator[tuple[str, dict[str, bytes], dict[str, Any]]]:
    """Key, members and record of the samples of a shard, those of `keys` or all, each opened.

    rows: those of its sidecar, by key; manifest: that of its run, None where it is not finished.
    A sample whose members are not those of its config, are not what their names say, or say other
    than the row of the sidecar is a `DidgenError`, and so is one that is in tar or sidecar alone.
    """
    waiting = {*(rows if keys is None else keys)}
    for key, members in read_shard(tar):
        if keys is None or key in waiting:
            waiting.discard(key)
            yield key, members, _opened(tar / key, config, members, rows.get(key), manifest)
    if waiting:
        _opened(tar / min(waiting), config, {}, None, manifest)


def _opened(
    place: Path,
    config: Config,
    members: Mapping[str, bytes],
    row: Mapping[str, Any] | None,
    manifest: Manifest | None,
) -> dict[str, Any]:
    """The record of a sample; the first fault is a `DidgenError` that names its run's command."""
    try:
        return _checked(str(place), config, members, row, manifest.classes if manifest else None)
    except DidgenError as error:
        recipe = manifest.recipe if manifest else {}
        raise DidgenError(by_maker(str(error), recipe)) from None


def _checked(
    name: str,
    config: Config,
    members: Mapping[str, bytes],
    row: Mapping[str, Any] | None,
    classes: Sequence[str] | None,
) -> dict[str, Any]:
    if row is None or not members:
        raise DidgenError(f"{name} is in one of its shard and sidecar alone; {REMAKE}.")
    if frozenset(members) not in LAYOUTS[config]:
        raise DidgenError(
            f"{name} has the members {', '.join(sorted(members))}, "
            f"not those of its config; {REMAKE}."
        )
    record = _open_members(name, members, classes)
    if field := difference(row, record):
        raise DidgenError(
            f"{name}.json and the sample's row in the sidecar differ in {field}; {REMAKE}."
        )
    return record


def _open_members(
    name: str, members: Mapping[str, bytes], classes: Sequence[str] | None
) -> dict[str, Any]:
    """Open every member of a sample; the first that is not what its name says is a `DidgenError`.

    Images decode fully, a mask is one channel of 0 and 255 in its image's size, `json` is an
    object, which is returned, and `cls`, or else its `label`, the index of one of `classes`, that
    which it names, or of any size if they are `None`. In a run without classes `cls` may be -1.
    """
    images = {
        extension: _decode(f"{name}.{extension}", members[extension], signature)
        for extension, signature in _SIGNATURES.items()
        if extension in members
    }
    if mask := images.get("mask.png"):
        if mask.mode != "L" or any(mask.histogram()[1:255]):
            raise DidgenError(f"{name}.mask.png is not one channel of 0 and 255; {REMAKE}.")
        if mask.size != images["jpg"].size:
            raise DidgenError(f"{name}.mask.png has not the size of its image; {REMAKE}.")
    try:
        record = json.loads(members["json"])
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise DidgenError(f"{name}.json is not a JSON object; {REMAKE}.")
    if not isinstance(record.get("seed", 0), int):
        raise DidgenError(f"{name}.json has a seed that is no whole number; {REMAKE}.")
    number = rb"[0-9]{1,9}" if classes else rb"-1|[0-9]{1,9}"
    if "cls" in members and not re.fullmatch(number, members["cls"]):
        raise DidgenError(f"{name}.cls is not a class index; {REMAKE}.")
    index = int(members["cls"]) if "cls" in members else record.get("label")
    if record.get("label", index) != index:
        raise DidgenError(f"{name}.cls and {name}.json are of two classes; {REMAKE}.")
    if classes is not None and isinstance(index, int) and index >= 0:
        if index >= len(classes):
            member = f"{name}.{'cls' if 'cls' in members else 'json'}"
            raise DidgenError(
                f"{member} says class {index}, but there are {len(classes)} classes; {REMAKE}."
            )
        if record.get("class", classes[index]) != classes[index]:
            raise DidgenError(
                f"{name}.json is of the class {record['class']}, but {MANIFEST_NAME} calls class "
                f"{index} {classes[index]}; run `didgen augment` again to write the manifest."
            )
    return record


def _decode(name: str, data: bytes, signature: bytes) -> Image.Image:
    if not data.startswith(signature):
        raise DidgenError(f"{name} is not of the format its name says; {REMAKE}.")
    return decode(data, Path(name))
