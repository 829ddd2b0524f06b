"""Export: a run's samples in the layouts that other training code reads.

Notable choices:
- Image bytes pass through as they are; only nnU-Net, which reads no JPEG, gets the same pixels as
  PNG. Nothing is resized.
- Nothing is exported of a run that has a shard which is not as it was written.
- An export is made under a temporary name and is whole when it has its own.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import pyarrow
from datasets import ClassLabel, Features, Value
from datasets import Image as ImageFeature
from pyarrow import parquet
from pydantic import TypeAdapter, ValidationError

from manifests.card import CARD_NAME, card, splits_of
from manifests.contamination import TRAINED_ON_NAME, TrainedOn
from manifests.errors import DidgenError
from manifests.files import atomic_folder, refuse_existing, write_bytes, write_json
from manifests.images import decode, encoded
from manifests.licence import strictest
from manifests.records import Label, Split
from manifests.runs import Manifest, read_trained_on, read_whole_run
from manifests.shards import Config, Sidecar, read_shard, split_of

Target = Literal["imagefolder", "parquet", "nnunet"]
TARGETS: tuple[Target, ...] = get_args(Target)

Members = dict[str, bytes]
Progress = Callable[[int, int], None]

ROW_GROUP = 100
"""Rows of a Parquet file that are held in memory, and read, at once."""

_NNUNET_NAME = re.compile(r"Dataset\d{3}_[A-Za-z0-9]+")
_VALUES = {str: "string", bool: "bool", int: "int64", float: "float64"}


@dataclass(frozen=True)
class Export:
    """A run that was found whole, and the layout and the folder that it is to be written in."""

    directory: Path
    to: Target
    out: Path
    manifest: Manifest
    sidecars: dict[Config, list[Sidecar]]
    trained_on: TrainedOn

    def counts(self) -> dict[tuple[Config, Split], int]:
        """How many samples of each config and split there are to export."""
        counts: dict[tuple[Config, Split], int] = {}
        for config, shards in self.sidecars.items():
            for sidecar in shards:
                place = config, split_of(sidecar.shard)
                counts[place] = counts.get(place, 0) + sidecar.samples
        return counts

    def samples(self, config: Config, sidecar: Sidecar) -> Iterator[tuple[str, Members, str]]:
        """Key, members and class name of each sample of a shard; "" for a pair without a class."""
        classes = {str(index): name for index, name in enumerate(self.manifest.classes)}
        for key, members in read_shard(self.directory / config / sidecar.shard):
            index = (
                members["cls"].decode(errors="replace")
                if "cls" in members
                else _record(members).get("label")
            )
            if config == "images" and index not in classes:
                raise DidgenError(
                    f"{sidecar.shard} of {self.directory} has {key} without a class of its run; "
                    "run `didgen verify` to see what is wrong."
                )
            yield key, members, classes.get(str(index), "")


def prepare_export(
    directory: Path, to: Target, out: Path, progress: Progress | None = None
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
    manifest, sidecars = read_whole_run(directory, progress)
    if to == "nnunet":
        sidecars = {config: shards for config, shards in sidecars.items() if config == "pairs"}
        if not sidecars:
            raise DidgenError(f"{directory} has no pairs, and nnU-Net needs masks; make some.")
    if to == "imagefolder":
        for name in manifest.classes:
            _check_folder_name(name, directory)
    return Export(directory, to, out, manifest, sidecars, read_trained_on(directory, manifest))


def export(job: Export, progress: Progress | None = None) -> None:
    """Carry out an export, shard by shard; a card goes with it, and what the model was trained on.

    `progress` is called with (shards done, all shards).
    """
    total = sum(len(shards) for shards in job.sidecars.values())
    write = {"imagefolder": _imagefolder, "parquet": _parquet, "nnunet": _nnunet}[job.to]
    with atomic_folder(job.out) as root:
        for done, _ in enumerate(write(job, root), 1):
            if progress:
                progress(done, total)
        seen = job.trained_on
        text = card(job.manifest, job.sidecars, job.to, seen=len(seen))
        write_bytes(root / CARD_NAME, text.encode())
        if seen:
            write_bytes(root / TRAINED_ON_NAME, seen.text())


def _imagefolder(job: Export, root: Path) -> Iterator[None]:
    """`images/SPLIT/CLASS/KEY.jpg`; `pairs/SPLIT/KEY.jpg`, `masks/KEY.png` and `metadata.jsonl`."""
    with ExitStack() as files:
        tables: dict[Path, IO[str]] = {}
        for config, shards in job.sidecars.items():
            for sidecar in shards:
                folder = root / config / split_of(sidecar.shard)
                for key, members, label in job.samples(config, sidecar):
                    if config == "images":
                        _write(folder / label / f"{key}.jpg", members["jpg"])
                        continue
                    _write(folder / f"{key}.jpg", members["jpg"])
                    _write(folder / "masks" / f"{key}.png", members["mask.png"])
                    if folder not in tables:
                        path = folder / "metadata.jsonl"
                        tables[folder] = files.enter_context(open(path, "w", encoding="utf-8"))
                    row = {
                        "file_name": f"{key}.jpg",
                        "mask_file_name": f"masks/{key}.png",
                        "key": key,
                        "class": label,
                        **_facts(members),
                    }
                    tables[folder].write(json.dumps(row) + "\n")
                yield


def _parquet(job: Export, root: Path) -> Iterator[None]:
    """`CONFIG/SPLIT-00000-of-0000N.parquet`, one file a shard, images embedded."""
    for config, shards in job.sidecars.items():
        (root / config).mkdir()
        rows = (row for sidecar in shards for row in _rows(job, config, sidecar))
        schema = _features(next(rows, {}), job.manifest.classes).arrow_schema
        for split in splits_of(shards):
            group = [sidecar for sidecar in shards if split_of(sidecar.shard) == split]
            for number, sidecar in enumerate(group):
                path = root / config / f"{split}-{number:05d}-of-{len(group):05d}.parquet"
                _write_parquet(path, _rows(job, config, sidecar), schema)
                yield


def _rows(job: Export, config: Config, sidecar: Sidecar) -> Iterator[dict[str, Any]]:
    """The samples of a shard as rows of a table."""
    for key, members, label in job.samples(config, sidecar):
        row: dict[str, Any] = {"key": key, "image": {"bytes": members["jpg"], "path": f"{key}.jpg"}}
        if "mask.png" in members:
            row["mask"] = {"bytes": members["mask.png"], "path": f"{key}.png"}
        row["label"] = job.manifest.classes.index(label) if label else None
        yield row | _facts(members)


def _features(row: dict[str, Any], classes: list[str]) -> Features:
    """The columns of a config, from its first row and its classes."""
    fixed: dict[str, Any] = {"key": Value("string"), "image": ImageFeature()}
    if "mask" in row:
        fixed["mask"] = ImageFeature()
    fixed["label"] = ClassLabel(names=classes) if classes else Value("int64")
    facts = {name: Value(_VALUES[type(v)]) for name, v in row.items() if name not in fixed}
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


def _nnunet(job: Export, root: Path) -> Iterator[None]:
    """nnU-Net v2's raw format for natural images: RGB in one PNG a case, labels of 0 and 1.

    Training and validation cases are all in `imagesTr`, as nnU-Net has it; a `splits_final.json`
    keeps them apart.
    """
    cases: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    for sidecar in job.sidecars["pairs"]:
        split = split_of(sidecar.shard)
        part = "Ts" if split == "test" else "Tr"
        for key, members, _ in job.samples("pairs", sidecar):
            name = Path(sidecar.shard) / key
            image = decode(members["jpg"], name.with_suffix(".jpg")).convert("RGB")
            mask = np.asarray(decode(members["mask.png"], name.with_suffix(".mask.png"))) > 0
            _write(root / f"images{part}" / f"{key}_0000.png", encoded(image, "PNG"))
            _write(root / f"labels{part}" / f"{key}.png", encoded(mask.astype(np.uint8), "PNG"))
            cases[split].append(key)
        yield
    if cases["val"]:
        write_json(root / "splits_final.json", [{"train": cases["train"], "val": cases["val"]}])
    write_json(
        root / "dataset.json",
        {
            "name": job.out.name,
            "description": "Dermoscopic images and lesion masks. Not for diagnosis.",
            "licence": strictest(job.manifest.made_from).name,
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": len(cases["train"]) + len(cases["val"]),
            "file_ending": ".png",
            "overwrite_image_reader_writer": "NaturalImage2DIO",
        },
    )


def _record(members: Members) -> dict[str, Any]:
    try:
        record = json.loads(members["json"])
    except (ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else {}


def _facts(members: Members) -> dict[str, Any]:
    """What a sample's record says beside key and class, in one level: text and numbers only."""
    facts: dict[str, Any] = {}
    for name, value in _record(members).items():
        inner = value if isinstance(value, dict) else {"": value}
        facts |= {f"{name}_{n}".rstrip("_"): v for n, v in inner.items() if type(v) in _VALUES}
    # `datasets` would take a field with such a name for the path of a further image.
    taken = {"key", "image", "mask", "label", "class"}
    return {
        n: v
        for n, v in facts.items()
        if n not in taken and not n.endswith(("file_name", "file_names"))
    }


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


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
