"""A sound run: a run found whole, whose members an export may write."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from didgen.manifests.choices import Config, ExportForm, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import refuse_existing
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.runs.finish import listed_sidecars, read_trained_on, read_whole_run
from didgen.manifests.shards.index import Manifest
from didgen.manifests.shards.shard import Sidecars, read_shard, split_of
from didgen.manifests.sources.records import Label

TARGETS: tuple[ExportForm, ...] = get_args(ExportForm)

Members = dict[str, bytes]

_NNUNET_NAME = re.compile(r"Dataset\d{3}_[A-Za-z0-9]+")


@dataclass(frozen=True)
class Export:
    """A run that was found whole, and the layout and the folder that it is to be written in.

    shards: the tars to export, by config.
    """

    directory: Path
    to: ExportForm
    out: Path
    manifest: Manifest
    shards: dict[Config, list[str]]
    trained_on: TrainedOn

    def counts(self) -> dict[tuple[Config, Split], int]:
        """How many samples of each config and split there are to export."""
        counts: dict[tuple[Config, Split], int] = {}
        for config in self.shards:
            for entry in self.manifest.configs[config]:
                place = config, split_of(entry.file)
                counts[place] = counts.get(place, 0) + entry.samples
        return counts

    def sidecars(self) -> dict[Config, Sidecars]:
        """The sidecars of the shards."""
        listed = listed_sidecars(self.directory, self.manifest)
        return {config: listed[config] for config in self.shards}

    def samples(self, config: Config, shard: str) -> Iterator[tuple[str, Members, str]]:
        """Key, members and class name of each sample of a shard; "" for a pair without a class."""
        classes = {str(index): name for index, name in enumerate(self.manifest.classes)}
        for key, members in read_shard(self.directory / config / shard):
            index = (
                members["cls"].decode(errors="replace")
                if "cls" in members
                else record_of(members).get("label")
            )
            if config == "images" and index not in classes and (classes or index != "-1"):
                raise DidgenError(
                    f"{shard} of {self.directory} has {key} without a class of its run; "
                    "run `didgen verify` to see what is wrong."
                )
            yield key, members, classes.get(str(index), "")


def prepare_export(
    directory: Path, to: ExportForm, out: Path, progress: Progress | None = None
) -> Export:
    """Check that `directory` can be exported to `out`; every shard is hashed, nothing is written.

    An `out` that exists, a shard that is not as the run wrote it, no pairs for nnU-Net and a
    class that cannot name a folder are each a `DidgenError`.
    """
    refuse_existing(out)
    if to == "nnunet" and not _NNUNET_NAME.fullmatch(out.name):
        raise DidgenError(
            f"{out} is no name of an nnU-Net data set; give it one like Dataset501_DiDGen."
        )
    manifest, _ = read_whole_run(directory, progress)
    shards = {
        config: [entry.file for entry in entries] for config, entries in manifest.configs.items()
    }
    if to == "nnunet":
        shards = {config: names for config, names in shards.items() if config == "pairs"}
        if not shards:
            raise DidgenError(f"{directory} has no pairs, and nnU-Net needs masks; make some.")
    if to == "imagefolder":
        for name in manifest.classes:
            _check_folder_name(name, directory)
    return Export(directory, to, out, manifest, shards, read_trained_on(directory, manifest))


def record_of(members: Members) -> dict[str, Any]:
    """The record of a sample, empty where its `.json` holds none."""
    try:
        record = json.loads(members["json"])
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else {}


def _check_folder_name(name: str, directory: Path) -> None:
    try:
        TypeAdapter(Label).validate_python(name)
    except ValidationError:
        fine = False
    else:
        # Readers of image folders skip what is hidden.
        fine = not name.startswith((".", "__"))
    if not fine:
        raise DidgenError(
            f"{directory} has the class {name!r}, which cannot name a folder; "
            "export it to parquet, or rename the class in the source."
        )


def write_file(path: Path, data: bytes) -> None:
    """Write a file of an export, whose folder is synced as a whole before it gets its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
