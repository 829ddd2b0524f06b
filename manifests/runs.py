"""Runs: the record a run directory opens with, and the index that closes it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from manifests.card import CARD_NAME, card
from manifests.contamination import TRAINED_ON_NAME, TrainedOn
from manifests.croissant import CROISSANT_NAME, croissant
from manifests.errors import DidgenError
from manifests.files import (
    read_json,
    sha256_of,
    write_bytes,
    write_json,
)
from manifests.licence import Ingredient
from manifests.records import Split
from manifests.shards import (
    INFO_NAME,
    SHARD_NAME,
    Config,
    Sidecar,
    info_of,
    read_record,
    read_sidecar,
    shard_path,
    write_info,
)

RUN_NAME = "run.json"
PLAN_NAME = "plan.jsonl"
MANIFEST_NAME = "manifest.json"
DOCUMENTS = (CARD_NAME, CROISSANT_NAME, TRAINED_ON_NAME)
"""What a finished run has for its readers."""


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Run(BaseModel):
    """`run.json`: what the directory is for, written before the first shard.

    `plan` is the sha256 of `plan.jsonl`, which is written before it; None where there is no plan.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    fingerprint: str
    recipe: dict[str, Any]
    didgen: str
    plan: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class ShardEntry(BaseModel):
    """What the manifest says of one shard: enough to tell that the very file is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=SHARD_NAME)
    sha256: Sha256
    bytes: int = Field(ge=0)
    samples: int = Field(ge=0)


class FailureEntry(BaseModel):
    """A planned sample that is in no shard, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Config
    shard: str
    key: str
    reason: str


class Totals(BaseModel):
    """Sums over all configs; `bytes` counts the tars, `redraws` what gates had drawn again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: int
    samples: int
    failures: int
    bytes: int
    redraws: int = 0


class Manifest(BaseModel):
    """`manifest.json`: the index of a whole run; a directory without one is not finished.

    `classes` are the names that the class indices of `.cls` members stand for; `decisions` are
    the run's own choices (device, dtype, batch) with their reasons. `made_from` lists the model
    and the data, from which the licence follows; `documents` has the sha256 of the card, of the
    Croissant metadata, and of the list of the model's training images where there is one. Runs of
    older versions have neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    fingerprint: str
    recipe: dict[str, Any]
    decisions: dict[str, Any]
    versions: dict[str, str]
    didgen: str
    classes: list[str]
    configs: dict[Config, list[ShardEntry]]
    totals: Totals
    failures: list[FailureEntry]
    made_from: list[Ingredient] = []
    documents: dict[Literal["README.md", "croissant.json", "trained_on.jsonl"], Sha256] = {}


def finish_run(
    directory: Path,
    planned: Mapping[Config, int | Mapping[Split, int]],
    *,
    decisions: Mapping[str, Any],
    versions: Mapping[str, str],
    classes: list[str],
    made_from: Sequence[Ingredient] = (),
    trained_on: TrainedOn = TrainedOn(),  # noqa: B008 - immutable
) -> Manifest:
    """Write each `_info.json`, the documents and, last of all, the manifest of a whole run.

    `planned` is the number of shards of each config, or of each of its splits. A shard that is
    missing, cut off or of another run is a `DidgenError`, and no manifest is written.
    """
    run = read_run(directory)
    sidecars = {
        config: [_whole_shard(tar, run) for tar in _planned_tars(directory, config, counts)]
        for config, counts in planned.items()
    }
    entries = {
        config: [
            ShardEntry(file=s.shard, sha256=s.sha256, bytes=s.bytes, samples=s.samples)
            for s in shards
        ]
        for config, shards in sidecars.items()
    }
    failures = [
        FailureEntry(config=s.config, shard=s.shard, key=row["key"], reason=row.get("reason", ""))
        for shards in sidecars.values()
        for s in shards
        for row in s.rows
        if row["status"] == "failed"
    ]
    everything = [entry for shards in entries.values() for entry in shards]
    manifest = Manifest(
        fingerprint=run.fingerprint,
        recipe=run.recipe,
        decisions=dict(decisions),
        versions=dict(versions),
        didgen=version("didgen"),
        classes=classes,
        configs=entries,
        totals=Totals(
            shards=len(everything),
            samples=sum(entry.samples for entry in everything),
            failures=len(failures),
            bytes=sum(entry.bytes for entry in everything),
            redraws=sum(
                row.get("redraws", 0) for s in sidecars.values() for side in s for row in side.rows
            ),
        ),
        failures=failures,
        made_from=list(made_from),
    )
    for config in planned:
        write_info(directory, config)
    return _document(directory, manifest, sidecars, trained_on)


def _planned_tars(directory: Path, config: Config, counts: int | Mapping[Split, int]) -> list[Path]:
    """Where the planned shards of a config lie, be they those of a whole or of its splits."""
    return [
        shard_path(directory, config, index, split)
        for split, count in ({None: counts} if isinstance(counts, int) else counts).items()
        for index in range(count)
    ]


def read_whole_run(
    directory: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[Manifest, dict[Config, list[Sidecar]]]:
    """The manifest and the sidecars of a finished run whose shards are as it wrote them.

    Every tar is hashed; one that is missing or has other bytes is a `DidgenError`, and so is a
    sidecar that does not fit. `progress` is called with (shards hashed, all shards).
    """
    manifest = read_manifest(directory)
    sidecars: dict[Config, list[Sidecar]] = {config: [] for config in manifest.configs}
    done = 0
    for config, entries in manifest.configs.items():
        for entry in entries:
            tar = directory / config / entry.file
            sidecar = read_sidecar(tar.with_suffix(".json"))
            fits = (sidecar.shard, sidecar.sha256) == (entry.file, entry.sha256)
            if not fits or not tar.is_file() or sha256_of(tar) != entry.sha256:
                raise DidgenError(
                    f"{tar} is missing or not as the run wrote it; run `{maker(manifest.recipe)}` "
                    "again to mend it."
                )
            sidecars[config].append(sidecar)
            done += 1
            if progress:
                progress(done, manifest.totals.shards)
    return manifest, sidecars


def maker(recipe: Mapping[str, Any]) -> str:
    """The command that makes, and mends, runs of a recipe."""
    return "didgen mix" if recipe.get("kind") == "mix" else "didgen augment"


def mend_run(directory: Path, made_from: Sequence[Ingredient], trained_on: TrainedOn) -> Manifest:
    """The manifest of a finished run, its documents written anew if they are not as they should be.

    They are where one is missing or changed, and where `made_from` or `trained_on` is not what the
    run has: in runs of older versions, and after the card of a model was given a licence.
    """
    manifest = read_manifest(directory)
    if is_documented(directory, manifest, made_from, trained_on):
        return manifest
    manifest = manifest.model_copy(update={"made_from": list(made_from)})
    sidecars = {
        config: [read_sidecar((directory / config / e.file).with_suffix(".json")) for e in entries]
        for config, entries in manifest.configs.items()
    }
    return _document(directory, manifest, sidecars, trained_on)


def is_documented(
    directory: Path, manifest: Manifest, made_from: Sequence[Ingredient], trained_on: TrainedOn
) -> bool:
    """Whether the documents are as they were written, and for what the run is made from."""
    paths = {directory / name: sha256 for name, sha256 in manifest.documents.items()}
    as_written = all(path.is_file() and sha256_of(path) == paths[path] for path in paths)
    there = manifest.documents.get(TRAINED_ON_NAME)
    listed = hashlib.sha256(trained_on.text()).hexdigest() if trained_on else there
    return bool(paths) and as_written and (manifest.made_from, there) == (list(made_from), listed)


def read_trained_on(directory: Path, manifest: Manifest) -> TrainedOn:
    """What the model of a finished run was trained on, as far as the run tells.

    A list that is missing or not as the run wrote it is a `DidgenError`.
    """
    sha256, path = manifest.documents.get(TRAINED_ON_NAME), directory / TRAINED_ON_NAME
    if sha256 is None:
        return TrainedOn()
    if not path.is_file() or sha256_of(path) != sha256:
        raise DidgenError(
            f"{path} is missing or not as the run wrote it; run `{maker(manifest.recipe)}` again "
            "to mend it."
        )
    return TrainedOn.read(path)


def _document(
    directory: Path,
    manifest: Manifest,
    sidecars: Mapping[Config, Sequence[Sidecar]],
    trained_on: TrainedOn,
) -> Manifest:
    """Write the documents, and then the manifest with the hash of each.

    Where the model's list is not at hand, perhaps because the hub is out of reach, the run keeps
    the one that it has; one that is not as it was written then is a `DidgenError`.
    """
    path, listed = directory / TRAINED_ON_NAME, manifest.documents.get(TRAINED_ON_NAME)
    if not trained_on and (listed or path.is_file()):
        if listed and (not path.is_file() or sha256_of(path) != listed):
            raise DidgenError(
                f"{path} is missing or changed, and its model has no such list at hand; restore "
                "either of them."
            )
        trained_on = TrainedOn.read(path)
    texts = {
        CARD_NAME: card(manifest, sidecars, seen=len(trained_on)).encode(),
        CROISSANT_NAME: croissant(manifest, sidecars).encode(),
    }
    if trained_on:
        texts[TRAINED_ON_NAME] = trained_on.text()
    for name, text in texts.items():
        write_bytes(directory / name, text)
    documents = {name: sha256_of(directory / name) for name in texts}
    manifest = manifest.model_copy(update={"documents": documents})
    write_json(directory / MANIFEST_NAME, manifest.model_dump(mode="json"))
    return manifest


def missing_shards(directory: Path, planned: Mapping[Config, int]) -> int:
    """How many of the planned shards are not there whole, by their sidecars and sizes."""
    run, missing = read_run(directory), 0
    for config, count in planned.items():
        for tar in _planned_tars(directory, config, count):
            try:
                _whole_shard(tar, run)
            except DidgenError:
                missing += 1
    return missing


def finished(
    directory: Path,
    planned: Mapping[Config, int | Mapping[Split, int]],
    classes: Sequence[str],
) -> Manifest | None:
    """The manifest, if it and each `_info.json` say what the planned shards' sidecars say.

    `planned` and `classes` are what `finish_run` takes.
    """
    try:
        manifest, run = read_manifest(directory), read_run(directory)
        if manifest.fingerprint != run.fingerprint or manifest.configs.keys() != planned.keys():
            return None
        if list(manifest.classes) != list(classes):
            return None
        for config, entries in manifest.configs.items():
            tars = _planned_tars(directory, config, planned[config])
            sidecars = [_whole_shard(tar, run) for tar in tars]
            if [(e.file, e.sha256, e.samples) for e in entries] != [
                (s.shard, s.sha256, s.samples) for s in sidecars
            ]:
                return None
            info = info_of((entry.file, entry.samples) for entry in entries)
            if read_json(directory / config / INFO_NAME) != info:
                return None
    except DidgenError:
        return None
    return manifest


def read_run(directory: Path) -> Run:
    """Read `run.json` of a run directory; a missing or ill-formed one is a `DidgenError`."""
    return read_record(Run, directory / RUN_NAME)


def read_manifest(directory: Path) -> Manifest:
    """Read `manifest.json` of a finished run; without one it is a `DidgenError`."""
    path = directory / MANIFEST_NAME
    if not path.exists():
        raise DidgenError(f"{path} does not exist; finish the run with `didgen augment` first.")
    return read_record(Manifest, path)


def _whole_shard(path: Path, run: Run) -> Sidecar:
    sidecar = read_sidecar(path.with_suffix(".json"))
    if sidecar.fingerprint != run.fingerprint:
        raise DidgenError(
            f"{path} belongs to another run than the {RUN_NAME} above it; "
            "delete it and its sidecar and run `didgen augment` again."
        )
    if not path.is_file() or path.stat().st_size != sidecar.bytes:
        raise DidgenError(
            f"{path} is missing or cut off; delete its sidecar and run `didgen augment` again."
        )
    return sidecar
