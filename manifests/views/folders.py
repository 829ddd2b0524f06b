"""Folders: what didgen made in a folder, how far it has come, and the command that goes on."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import is_local, read_json
from didgen.manifests.provenance.model_files import is_model
from didgen.manifests.runs.order import ORDER_NAME, command_to_resume, read_order
from didgen.manifests.shards.index import MANIFEST_NAME, PLAN_NAME, RUN_NAME, read_run
from didgen.manifests.shards.shard import read_sidecar, sidecar_paths
from didgen.manifests.sources.records import HEADER_FILE, SourceManifest

LAST = {
    "augment": (MANIFEST_NAME,),
    "mix": (MANIFEST_NAME,),
    "synthetic": (MANIFEST_NAME,),
    "finetune": ("model/model_index.json", "model/didgen.json"),
    "quality": ("quality.json", "runs.md"),
    "classify": ("benchmark.json",),
    "segment": ("benchmark.json",),
}
"""Files of which each command writes one last of all."""

WORDS = {
    "augment": "a run of `augment`",
    "mix": "a run of `mix`",
    "synthetic": "a run of `import synthetic`",
    "finetune": "a training",
    "quality": "an assessment",
    "classify": "a benchmark of classifiers",
    "segment": "a benchmark of segmentation nets",
}

SHARDED = ("augment", "mix", "synthetic")
"""The commands whose folders hold shards."""

DEPTH = 2
"""Levels below a folder that are looked at."""


def kind_of(directory: Path) -> str | None:
    """The command that a folder was begun by, None where none of `LAST` did."""
    for name, at in ((ORDER_NAME, ("command",)), (RUN_NAME, ("recipe", "kind"))):
        said: Any = None
        if (directory / name).is_file():
            try:
                said = read_json(directory / name)
            except DidgenError:
                continue
        for field in at:
            said = said.get(field) if isinstance(said, Mapping) else None
        if said in LAST:
            return str(said)
    return next((kind for kind in ("quality", "classify") if _is_done(directory, kind)), None)


def is_unfinished(directory: Path) -> bool:
    """Whether a folder was begun by a command that did not end yet."""
    if (directory / HEADER_FILE).is_file():
        return _is_being_captioned(directory)
    kind = kind_of(directory)
    return kind is not None and not _is_done(directory, kind)


def _is_being_captioned(source: Path) -> bool:
    """Whether captions were begun in a source, and some are missing."""
    if not (source / ORDER_NAME).is_file():
        return False
    return any(record.caption is None for record in SourceManifest.read(source).records)


def _is_done(directory: Path, kind: str) -> bool:
    return any((directory / name).is_file() for name in LAST[kind])


def state_of(directory: Path) -> str | None:
    """What a folder is, in words; None where didgen made nothing that it knows of in it."""
    if (directory / HEADER_FILE).is_file():
        captioned = "captions not finished" if _is_being_captioned(directory) else ""
        return "a source manifest" + (f", {captioned}" if captioned else "")
    kind = kind_of(directory)
    if kind is None:
        return "a model" if is_model(directory) else None
    if _is_done(directory, kind):
        return f"{WORDS[kind]}, finished"
    counted = counted_so_far(directory)
    return f"{WORDS[kind]}, not finished" + (f": {counted}" if counted else "")


def counted_so_far(directory: Path) -> str:
    """The samples of a run that are there of those planned, as `images 8/8, pairs 0/8`."""
    try:
        planned = planned_of(directory)
    except DidgenError:
        return ""
    there: Counter[Config] = Counter()
    for config in planned:
        for path in sidecar_paths(directory, config):
            try:
                there[config] += len(read_sidecar(path).rows)
            except DidgenError:
                continue
    return ", ".join(f"{config} {there[config]}/{count}" for config, count in planned.items())


def planned_of(directory: Path) -> Mapping[Config, int]:
    """The planned samples of a run by config, as its `run.json` or its plan says."""
    run = read_run(directory)
    path = directory / PLAN_NAME
    if run.planned or not path.is_file():
        return run.planned
    counts: Counter[Config] = Counter()
    with path.open("rb") as lines:
        for line in lines:
            # Rows are written with sorted keys, and a whole parse takes ten times as long.
            counts["pairs" if b'"config": "pairs"' in line else "images"] += 1
    return counts


def advice(directory: Path) -> str | None:
    """The sentence with the whole command that goes on with an unfinished folder."""
    if not is_unfinished(directory):
        return None
    try:
        read_order(directory)
    except DidgenError as error:
        return str(error)
    return f"To go on: {command_to_resume(directory)}"


def refuse_without_shards(directory: Path) -> None:
    """Raise a `DidgenError` for a folder that didgen made and that is no run."""
    state = state_of(directory)
    if state is None or kind_of(directory) in SHARDED:
        return
    more = advice(directory)
    raise DidgenError(
        f"{directory} is {state}, and only a run has shards to verify"
        + (f". {more}" if more else "; name one.")
    )


def folders_in(directory: Path, depth: int = DEPTH) -> Iterator[tuple[Path, str]]:
    """The folders in a folder that didgen made, each with what it is; none within another."""
    if not is_local(directory) or not directory.is_dir():
        return
    for child in sorted(directory.iterdir()):
        if not child.is_dir() or child.name.startswith("."):
            continue
        if state := state_of(child):
            yield child, state
        elif depth > 1:
            yield from folders_in(child, depth - 1)
