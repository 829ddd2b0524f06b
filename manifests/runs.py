"""Runs: the record a run directory opens with, and the index that closes it."""

import reprlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from manifests.errors import DidgenError
from manifests.files import (
    TEMPORARY_SUFFIX,
    read_json,
    sha256_of,
    write_json,
    write_json_lines,
)
from manifests.shards import (
    INFO_NAME,
    Config,
    Sidecar,
    info_of,
    is_shard_name,
    read_record,
    read_sidecar,
    shard_path,
    write_info,
)

RUN_NAME = "run.json"
PLAN_NAME = "plan.jsonl"
MANIFEST_NAME = "manifest.json"


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

    file: str = Field(pattern=r"^(images|pairs)-\d{6,}\.tar$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
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
    the run's own choices (device, dtype, batch) with their reasons.
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


def start_run(
    directory: Path,
    *,
    fingerprint: str,
    recipe: Mapping[str, Any],
    plan: Sequence[Mapping[str, Any]] = (),
) -> Run:
    """Claim a directory for a recipe, or find it already claimed for the same one.

    The plan, if there is one, is written first. What is broken of either record is written anew. A
    directory of another recipe is a `DidgenError` that names the fields that differ; one of the
    same recipe with another fingerprint was begun with other inputs, and is an error too, and so is
    one that is no run's yet and has other files where the shards would lie.
    """
    wanted = Run(fingerprint=fingerprint, recipe=dict(recipe), didgen=version("didgen"))
    there = _claim_of(directory)
    if there is not None and there.fingerprint != fingerprint:
        # Compared as JSON, so that a tuple or a path in the recipe is no difference.
        fields = differences(there.recipe, wanted.model_dump(mode="json")["recipe"])
        what = "another recipe" if fields else "the same recipe over other inputs (model or data)"
        detail = f": it differs in {', '.join(fields)}" if fields else ""
        raise DidgenError(
            f"{directory} holds a run of {what}{detail}; choose another directory or restore them."
        )
    if there is not None and is_started(directory, fingerprint):
        return there
    if there is None and (foreign := _foreign(directory)):
        raise DidgenError(
            f"{foreign[0]} lies where a run would put its shards; choose another directory."
        )
    if plan:
        write_json_lines(directory / PLAN_NAME, plan)
        wanted = wanted.model_copy(update={"plan": sha256_of(directory / PLAN_NAME)})
    write_json(directory / RUN_NAME, wanted.model_dump(mode="json"))
    return wanted


def is_started(directory: Path, fingerprint: str) -> bool:
    """Whether `run.json` is there for this fingerprint, and the plan that it was written with."""
    try:
        run = read_run(directory)
    except DidgenError:
        return False
    return run.fingerprint == fingerprint and (run.plan is None or plan_is_whole(directory, run))


def plan_is_whole(directory: Path, run: Run) -> bool:
    """Whether `plan.jsonl` is the one that `run` was begun with."""
    path = directory / PLAN_NAME
    return path.is_file() and sha256_of(path) == run.plan


def _foreign(directory: Path) -> list[Path]:
    """What lies in the folders of a run's shards and has the name of no file of any run."""
    return [
        path
        for config in get_args(Config)
        for path in sorted((directory / config).glob("*"))
        if path.name != INFO_NAME
        and not path.name.endswith(TEMPORARY_SUFFIX)
        and not (path.suffix in (".tar", ".json") and is_shard_name(f"{path.stem}.tar", config))
    ]


def _claim_of(directory: Path) -> Run | None:
    """Whose directory this is, by `run.json` or, where that is broken or gone, by what it left."""
    try:
        return read_run(directory)
    except DidgenError:
        pass
    try:
        manifest = read_manifest(directory)
    except DidgenError:
        pass
    else:
        return Run(**manifest.model_dump(include={"fingerprint", "recipe", "didgen"}))
    for path in sorted(p for c in get_args(Config) for p in directory.glob(f"{c}/{c}-*.json")):
        try:
            sidecar = read_sidecar(path)
        except DidgenError:
            continue
        return Run(fingerprint=sidecar.fingerprint, recipe={}, didgen=sidecar.didgen)
    return None


def finish_run(
    directory: Path,
    planned: Mapping[Config, int],
    *,
    decisions: Mapping[str, Any],
    versions: Mapping[str, str],
    classes: list[str],
) -> Manifest:
    """Write each `_info.json` and, last of all, the manifest of a run whose shards are all there.

    `planned` is the number of shards of each config. A shard that is missing, cut off or of
    another run is a `DidgenError`, and no manifest is written.
    """
    run = read_run(directory)
    sidecars = {
        config: [_whole_shard(directory, config, index, run) for index in range(count)]
        for config, count in planned.items()
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
    )
    for config in planned:
        write_info(directory, config)
    write_json(directory / MANIFEST_NAME, manifest.model_dump(mode="json"))
    return manifest


def missing_shards(directory: Path, planned: Mapping[Config, int]) -> int:
    """How many of the planned shards are not there whole, by their sidecars and sizes."""
    run, missing = read_run(directory), 0
    for config, count in planned.items():
        for index in range(count):
            try:
                _whole_shard(directory, config, index, run)
            except DidgenError:
                missing += 1
    return missing


def finished(directory: Path, planned: Mapping[Config, int]) -> Manifest | None:
    """The manifest, if it and each `_info.json` say what the planned shards' sidecars say."""
    try:
        manifest, run = read_manifest(directory), read_run(directory)
        if manifest.fingerprint != run.fingerprint or manifest.configs.keys() != planned.keys():
            return None
        for config, entries in manifest.configs.items():
            sidecars = [
                _whole_shard(directory, config, index, run) for index in range(planned[config])
            ]
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


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two nested records differ, as `a.b (1, now 2)`, sorted by name."""
    absent = object()
    found = []
    for name in sorted(there.keys() | wanted.keys()):
        old, new = there.get(name, absent), wanted.get(name, absent)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            before, now = (
                "absent" if value is absent else reprlib.repr(value) for value in (old, new)
            )
            found.append(f"{prefix}{name} ({before}, now {now})")
    return found


def _whole_shard(directory: Path, config: Config, index: int, run: Run) -> Sidecar:
    path = shard_path(directory, config, index)
    sidecar = read_sidecar(path.with_suffix(".json"))
    if sidecar.fingerprint != run.fingerprint:
        raise DidgenError(
            f"{path} belongs to another run than {directory / RUN_NAME}; "
            "delete it and its sidecar and run `didgen augment` again."
        )
    if not path.is_file() or path.stat().st_size != sidecar.bytes:
        raise DidgenError(
            f"{path} is missing or cut off; delete its sidecar and run `didgen augment` again."
        )
    return sidecar
