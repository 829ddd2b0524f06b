"""Parquet: a run's samples as the tables that Hugging Face datasets reads."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
from datasets import ClassLabel, Features, Value
from datasets import Image as ImageFeature
from pyarrow import parquet

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.facts import VALUES, sample_facts
from didgen.manifests.exports.sound_run import Export
from didgen.manifests.shards.shard import split_of
from didgen.manifests.sources.records import SPLITS

ROW_GROUP = 100
"""Rows of a Parquet file that are held in memory, and read, at once."""


def write_parquet(job: Export, root: Path) -> Iterator[None]:
    """`CONFIG/SPLIT-00000-of-0000N.parquet`, one file a shard, images embedded."""
    for config, shards in job.shards.items():
        (root / config).mkdir()
        rows = (row for shard in shards for row in _rows(job, config, shard))
        schema = _features(next(rows, {}), job.manifest.classes).arrow_schema
        for split in SPLITS:
            group = [shard for shard in shards if split_of(shard) == split]
            for number, shard in enumerate(group):
                path = root / config / f"{split}-{number:05d}-of-{len(group):05d}.parquet"
                _write_parquet(path, _rows(job, config, shard), schema)
                yield


def _rows(job: Export, config: Config, shard: str) -> Iterator[dict[str, Any]]:
    """The samples of a shard as rows of a table."""
    for key, members, label in job.samples(config, shard):
        row: dict[str, Any] = {"key": key, "image": {"bytes": members["jpg"], "path": f"{key}.jpg"}}
        if "mask.png" in members:
            row["mask"] = {"bytes": members["mask.png"], "path": f"{key}.png"}
        row["label"] = job.manifest.classes.index(label) if label else None
        yield row | sample_facts(members)


def _features(row: dict[str, Any], classes: list[str]) -> Features:
    """The columns of a config, from its first row and its classes."""
    fixed: dict[str, Any] = {"key": Value("string"), "image": ImageFeature()}
    if "mask" in row:
        fixed["mask"] = ImageFeature()
    fixed["label"] = ClassLabel(names=classes) if classes else Value("int64")
    facts = {name: Value(VALUES[type(v)]) for name, v in row.items() if name not in fixed}
    return Features(fixed | facts)


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], schema: pyarrow.Schema) -> None:
    """Write rows in groups of `ROW_GROUP`; a row that does not fit the schema is an error."""
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, ROW_GROUP)):
            try:
                writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError) as error:
                raise DidgenError(
                    f"The records for {path.name} differ in the kind of a field ({error}); "
                    "export sets of different makers apart."
                ) from None
