"""Rows: what a sidecar says of its samples, held against the samples themselves."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Config, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.shards.shard import read_shard, read_sidecar, shard_path


def difference(row: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """The first field in which a sample's row and its own record differ, where both have it."""
    # A row has the name of the class, a record its index too.
    reported = {**record, "label": record.get("class", row.get("label"))}
    return next(
        (name for name in sorted(row.keys() & reported) if row[name] != reported[name]), None
    )


def shard_is_whole(
    directory: Path,
    config: Config,
    index: int,
    *,
    fingerprint: str,
    keys: Iterable[str],
    split: Split | None = None,
) -> bool:
    """Whether a resumed run may skip this shard: made for it, planned alike, byte for byte there.

    It compares fingerprint, keys (made and failed), the tar's size and hash, and the rows with the
    samples in it.
    """
    tar_path = shard_path(directory, config, index, split)
    try:
        sidecar = read_sidecar(tar_path.with_suffix(".json"))
        rows = sidecar.kept
        return (
            sidecar.fingerprint == fingerprint
            and {row["key"] for row in sidecar.rows} == set(keys)
            and tar_path.is_file()
            and tar_path.stat().st_size == sidecar.bytes
            and sha256_of(tar_path) == sidecar.sha256
            and all(
                difference(rows[key], json.loads(members["json"])) is None
                for key, members in read_shard(tar_path)
            )
        )
    except (DidgenError, KeyError, TypeError, ValueError):
        return False
