"""The list of shards that timm reads: `_info.json`, one a config."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Config, Split
from didgen.manifests.files import write_json
from didgen.manifests.shards.shard import INFO_NAME, split_of


def info_of(shards: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """The `_info.json` that timm reads, of the (file name, number of samples) of each shard."""
    by_split: dict[Split, dict[str, int]] = {}
    for name, length in shards:
        by_split.setdefault(split_of(name), {})[name] = length
    return {
        "splits": {
            split: {
                "name": split,
                "filenames": list(lengths),
                "shard_lengths": list(lengths.values()),
                "num_samples": sum(lengths.values()),
            }
            for split, lengths in by_split.items()
        }
    }


def write_info(directory: Path, config: Config, shards: Iterable[tuple[str, int]]) -> None:
    """Write the `_info.json` of a config, of the name and number of samples of each shard."""
    write_json(directory / config / INFO_NAME, info_of(shards))
