"""The claim: whose a run directory is, and how a recipe takes one."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import (
    is_litter,
    is_temporary,
    sha256_of,
    write_json,
    write_json_lines,
)
from didgen.manifests.privacy.paths import shareable
from didgen.manifests.shards.index import PLAN_NAME, RUN_NAME, Run, read_manifest, read_run
from didgen.manifests.shards.shard import INFO_NAME, is_shard_name, read_sidecar


def start_run(
    directory: Path,
    *,
    fingerprint: str,
    recipe: Mapping[str, Any],
    plan: Iterable[Mapping[str, Any]] = (),
    planned: Mapping[Config, int] | None = None,
    documents: Sequence[str] = (),
) -> Run:
    """Claim a directory for a recipe, or find it already claimed for the same one.

    The plan, if there is one, is written first. What is broken of either record is written anew. A
    directory of another recipe is a `DidgenError` that names the fields that differ; one of the
    same recipe with another fingerprint was begun with other inputs, and is an error too, and so is
    one that is no run's yet and has other files where the shards, or `documents`, would lie. The
    recipe is recorded without absolute paths.
    """
    wanted = Run(
        fingerprint=fingerprint,
        recipe=shareable(dict(recipe), directory),
        didgen=version("didgen"),
        planned=dict(planned or {}),
    )
    there = claim_of(directory)
    if there is not None and there.fingerprint != fingerprint:
        # Compared as JSON, so that a tuple or a path in the recipe is no difference.
        recorded = shareable(there.recipe, directory)
        fields = differences(recorded, wanted.model_dump(mode="json")["recipe"])
        what = "another recipe" if fields else "the same recipe over other inputs (model or data)"
        detail = f": it differs in {', '.join(fields)}" if fields else ""
        raise DidgenError(
            f"{directory} holds a run of {what}{detail}; choose another directory or restore them."
        )
    if there is not None and is_started(directory, fingerprint):
        return there
    if there is None and (foreign := _foreign(directory, documents)):
        raise DidgenError(
            f"{foreign[0]} lies where a run would put its files; choose another directory."
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


def _foreign(directory: Path, documents: Sequence[str]) -> list[Path]:
    """What lies in the folders of a run's shards and has the name of no file of any run, and what
    a run would write its documents over."""
    return [path for name in documents if (path := directory / name).exists()] + [
        path
        for config in get_args(Config)
        for path in sorted((directory / config).glob("*"))
        if path.name != INFO_NAME
        and not is_temporary(path)
        and not is_litter(path.name)
        and not (path.suffix in (".tar", ".json") and is_shard_name(f"{path.stem}.tar", config))
    ]


def claim_of(directory: Path) -> Run | None:
    """Whose directory this is, by `run.json` or, where that is broken or gone, by what it left;
    None for a directory that no run has begun in."""
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
