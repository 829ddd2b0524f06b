"""Finishing: the index that closes a run, written when all its shards are whole."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Config, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json, sha256_of, write_bytes, write_json
from didgen.manifests.privacy.index import (
    shareable_ingredients,
    shareable_manifest,
    shareable_run,
)
from didgen.manifests.provenance.croissant import CROISSANT_NAME, croissant
from didgen.manifests.provenance.dataset_card import card
from didgen.manifests.provenance.trained_on import CARD_NAME, TRAINED_ON_NAME, TrainedOn
from didgen.manifests.runs.seen_keys import SeenKeys
from didgen.manifests.shards.index import (
    MANIFEST_NAME,
    RUN_NAME,
    Ingredient,
    Manifest,
    Run,
    ShardEntry,
    Totals,
    maker,
    read_manifest,
    read_run,
)
from didgen.manifests.shards.info import info_of, write_info
from didgen.manifests.shards.shard import (
    INFO_NAME,
    Sidecar,
    Sidecars,
    read_sidecar,
    shard_path,
)
from didgen.manifests.shards.tally import Tally

DOCUMENTS = (CARD_NAME, CROISSANT_NAME, TRAINED_ON_NAME)
"""What a finished run has for its readers."""


@dataclass(frozen=True)
class Provenance:
    """What a run comes from: its ingredients, and what its model was trained on."""

    made_from: Sequence[Ingredient] = ()
    trained_on: TrainedOn = TrainedOn()  # noqa: RUF009 - immutable


def finish_run(
    directory: Path,
    planned: Mapping[Config, int | Mapping[Split, int]],
    *,
    decisions: Mapping[str, Any],
    versions: Mapping[str, str],
    classes: list[str],
    provenance: Provenance = Provenance(),
) -> Manifest:
    """Write each `_info.json`, the documents and, last of all, the manifest of a whole run.

    `planned` is the number of shards of each config, or of each of its splits. A shard that is
    missing, cut off or of another run is a `DidgenError`, and no manifest is written.
    """
    run, tally = read_run(directory), Tally()
    entries: dict[Config, list[ShardEntry]] = {config: [] for config in planned}
    for config, counts in planned.items():
        for tar in planned_tars(directory, config, counts):
            sidecar = _whole_shard(tar, run)
            entries[config].append(_entry(sidecar))
            tally.add(sidecar)
    manifest = Manifest(
        fingerprint=run.fingerprint,
        recipe=run.recipe,
        decisions=dict(decisions),
        versions=dict(versions),
        didgen=version("didgen"),
        classes=classes,
        configs=entries,
        totals=Totals(
            shards=tally.shards.total(),
            samples=tally.samples.total(),
            failures=tally.failures,
            bytes=tally.bytes,
            redraws=tally.redraws,
        ),
        failures=tally.failed,
        made_from=list(provenance.made_from),
    )
    for config, shards in entries.items():
        write_info(directory, config, ((entry.file, entry.samples) for entry in shards))
    return _document(directory, manifest, tally, provenance.trained_on)


def _entry(sidecar: Sidecar) -> ShardEntry:
    return ShardEntry(
        file=sidecar.shard, sha256=sidecar.sha256, bytes=sidecar.bytes, samples=sidecar.samples
    )


def planned_tars(directory: Path, config: Config, counts: int | Mapping[Split, int]) -> list[Path]:
    """Where the planned shards of a config lie, be they those of a whole or of its splits."""
    return [
        shard_path(directory, config, index, split)
        for split, count in ({None: counts} if isinstance(counts, int) else counts).items()
        for index in range(count)
    ]


def read_whole_run(
    directory: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[Manifest, dict[Config, Sidecars]]:
    """The manifest and the sidecars of a finished run whose shards are as it wrote them.

    Every tar is hashed; one that is missing or has other bytes is a `DidgenError`, and so are a
    sidecar that does not fit and a key that stands twice. `progress` is called with (shards hashed,
    all shards).
    """
    manifest, done = read_manifest(directory), 0
    mend = f"run `{maker(manifest.recipe)}` again to mend it"
    with closing(SeenKeys()) as seen:
        for config, entries in manifest.configs.items():
            for entry in entries:
                tar = directory / config / entry.file
                sidecar = read_sidecar(tar.with_suffix(".json"))
                fits = (sidecar.shard, sidecar.sha256) == (entry.file, entry.sha256)
                if not fits or not tar.is_file() or sha256_of(tar) != entry.sha256:
                    raise DidgenError(f"{tar} is missing or not as the run wrote it; {mend}.")
                for key in sidecar.kept:
                    if not seen.add(f"{config}/{key}"):
                        raise DidgenError(f"{tar} has {key}, as an earlier shard has; {mend}.")
                done += 1
                if progress:
                    progress(done, manifest.totals.shards)
    return manifest, listed_sidecars(directory, manifest)


def listed_sidecars(directory: Path, manifest: Manifest) -> dict[Config, Sidecars]:
    """The sidecars of the shards that the manifest of a run lists."""
    return {
        config: Sidecars(
            ((directory / config / entry.file).with_suffix(".json") for entry in entries),
            (entry.sha256 for entry in entries),
        )
        for config, entries in manifest.configs.items()
    }


def mend_run(directory: Path, provenance: Provenance) -> Manifest:
    """The manifest of a finished run, its documents written anew if they are not as they should be.

    They are where one is missing or changed, and where `provenance` is not what the run has: in
    runs of older versions, and after the card of a model was given a licence. Absolute paths that
    older versions recorded go.
    """
    manifest = read_manifest(directory)
    if is_documented(directory, manifest, provenance):
        return manifest
    manifest = manifest.model_copy(update={"made_from": list(provenance.made_from)})
    tally = Tally.of(chain.from_iterable(listed_sidecars(directory, manifest).values()))
    return _document(directory, manifest, tally, provenance.trained_on)


def is_documented(directory: Path, manifest: Manifest, provenance: Provenance) -> bool:
    """Whether the documents are as they were written, and for what the run comes from."""
    trained_on, made_from = provenance.trained_on, shareable_ingredients(provenance.made_from)
    paths = {directory / name: sha256 for name, sha256 in manifest.documents.items()}
    as_written = all(path.is_file() and sha256_of(path) == paths[path] for path in paths)
    there = manifest.documents.get(TRAINED_ON_NAME)
    listed = hashlib.sha256(trained_on.text()).hexdigest() if trained_on else there
    made_alike = manifest.made_from == made_from and there == listed
    shared = shareable_manifest(manifest, directory) == manifest
    return bool(paths) and as_written and made_alike and shared


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
    tally: Tally,
    trained_on: TrainedOn,
) -> Manifest:
    """Write the documents, and then the manifest with the hash of each.

    Where the model's list is not at hand, perhaps because the hub is out of reach, the run keeps
    the one that it has; one that is not as it was written then is a `DidgenError`. No record has
    an absolute path afterwards, be it one that an older version wrote.
    """
    manifest, run = shareable_manifest(manifest, directory), read_run(directory)
    if (shared := shareable_run(run, directory)) != run:
        write_json(directory / RUN_NAME, shared.model_dump(mode="json"))
    path, listed = directory / TRAINED_ON_NAME, manifest.documents.get(TRAINED_ON_NAME)
    if not trained_on and (listed or path.is_file()):
        if listed and (not path.is_file() or sha256_of(path) != listed):
            raise DidgenError(
                f"{path} is missing or changed, and its model has no such list at hand; restore "
                "either of them."
            )
        trained_on = TrainedOn.read(path)
    texts = {
        CARD_NAME: card(manifest, tally, seen=len(trained_on)).encode(),
        CROISSANT_NAME: croissant(manifest).encode(),
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
        for tar in planned_tars(directory, config, count):
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
            tars = planned_tars(directory, config, planned[config])
            if entries != [_entry(_whole_shard(tar, run)) for tar in tars]:
                return None
            info = info_of((entry.file, entry.samples) for entry in entries)
            if read_json(directory / config / INFO_NAME) != info:
                return None
    except DidgenError:
        return None
    return manifest


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
