"""Admission: what an importer found, looked at file by file and made records or rejections."""

import hashlib
import os
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.images import as_mask, decode, open_checked, read_file
from didgen.manifests.privacy.published import PixelDigests, pixel_digests, published
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.sources.records import (
    CLASSES,
    Reason,
    Rejection,
    SourceHeader,
    SourceManifest,
    SourceRecord,
    first_fault,
    sound_records,
    with_captions,
    write_rejections,
)
from didgen.manifests.sources.splits import Fractions, check_fractions, split_groups

ForModel = tuple[str, TrainedOn]
"""A model that the source is for, and what it was trained on."""

WORKERS = min(8, os.cpu_count() or 1)

LONGEST_KEY = 75
"""Characters of a key: a mix puts `real-` before it, and a shard takes 80."""


@dataclass(frozen=True)
class Candidate:
    """One image as an importer found it, not opened yet; a `split` of None is yet to be drawn."""

    key: str
    image: Path
    mask: Path | None
    label: str | None
    lesion_id: str
    split: Split | None
    source: str
    licence: str


@dataclass
class Harvest:
    """What an importer found in its folders: candidates, and what it had to leave out already."""

    candidates: list[Candidate] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    def reject(self, path: Path, reason: Reason, sentence: str) -> None:
        """Leave `path` out."""
        self.rejections.append(Rejection.of(path, reason, sentence))


@dataclass(frozen=True)
class Import:
    """The result of an importer: the manifest, and every file left out with its reason."""

    manifest: SourceManifest
    rejections: tuple[Rejection, ...]

    def write(self, folder: Path) -> None:
        """Write `rejected.jsonl`, then the manifest; captions there of the same images are kept."""
        write_rejections(folder, self.rejections)
        records = with_captions(self.manifest.records, sound_records(folder))
        replace(self.manifest, records=records).write(folder)


@dataclass(frozen=True)
class _Sound:
    """A candidate whose files are whole: its size in pixels, upright, and what it is known by."""

    candidate: Candidate
    width: int
    height: int
    sha256: str
    digests: PixelDigests
    mask_sha256: str | None


def admit(
    harvest: Harvest,
    *,
    importer: str,
    root: Path,
    classes: Sequence[str],
    seed: int,
    fractions: Fractions,
    for_models: Sequence[ForModel] = (),
    progress: Progress | None = None,
    workers: int = WORKERS,
) -> Import:
    """Open every candidate once, keep the sound ones and draw the splits that are not given.

    Each image and mask is decoded in full. Of two sound candidates with the same key or the same
    image bytes the first in key order stays, one with a label before one without. A lesion has
    one split: the first given for it, else the drawn one. Lesions that one of `for_models` was
    trained on go to train, or are left out where another split is given. Nothing kept at all is a
    `DidgenError`. A failing drive is an OSError: half a data set is not to pass for a whole one.
    """
    check_fractions(fractions)
    for model, trained_on in for_models:
        if not trained_on:
            raise DidgenError(
                f"No {TRAINED_ON_NAME} was found for the model {model}; check its name and, for "
                "one of the hub, the connection. Only models that didgen trained have such a list."
            )
    queue = sorted(
        harvest.candidates, key=lambda found: (found.key, found.label is None, found.image)
    )
    rejections = list(harvest.rejections)
    sound: list[_Sound] = []
    with ThreadPoolExecutor(workers) as pool:
        for done, outcome in enumerate(pool.map(_examine, queue), 1):
            if isinstance(outcome, Rejection):
                rejections.append(outcome)
            else:
                sound.append(outcome)
            if progress:
                progress(done, len(queue))
    sound = _without_duplicates(sound, rejections)
    sound = _without_split_conflicts(sound, rejections)
    trained: set[str] = set()
    for model, trained_on in for_models:
        known = _lesions_known(sound, trained_on)
        sound = _without_known_tests(sound, known, model, rejections)
        trained |= known
    records = _records(sound, root, seed, fractions, trained, rejections)
    if not records:
        first = f"; the first reason: {rejections[0].sentence}" if rejections else "."
        raise DidgenError(f"Nothing could be imported from {root}{first}")
    # A label whose every image was rejected names no class; ISIC's classes keep their indices.
    kept = {record.label for record in records}
    try:
        header = SourceHeader(
            importer=importer,
            didgen_version=version("didgen"),
            root=str(root),
            classes=tuple(label for label in classes if label in kept or label in CLASSES),
            seed=seed,
            fractions=fractions,
            for_models=tuple(model for model, _ in for_models),
        )
    except ValidationError as error:
        raise DidgenError(f"{root} cannot be imported: {first_fault(error)}; rename it.") from None
    return Import(SourceManifest(header, tuple(records)), tuple(rejections))


def _examine(candidate: Candidate) -> _Sound | Rejection:
    path = candidate.image
    try:
        data = read_file(path)
        image = decode(data, path)
        if image.mode[0] in "IF":
            raise DidgenError(
                f"{path} has more than 8 bits a grey level, which would be cut; save it with 8."
            )
        seen = published(data, image, path)
    except DidgenError as error:
        return Rejection.of(path, "unreadable-image", str(error))
    size, mask = seen.pixels.size, candidate.mask
    if mask and (fault := _mask_fault(mask, path, size)):
        return fault
    sha256, digests = hashlib.sha256(data).hexdigest(), pixel_digests(seen, path)
    return _Sound(candidate, *size, sha256, digests, sha256_of(mask) if mask else None)


def _mask_fault(path: Path, image: Path, size: tuple[int, int]) -> Rejection | None:
    try:
        opened = open_checked(path)
    except DidgenError as error:
        return Rejection.of(path, "unreadable-mask", str(error))
    try:
        mask = as_mask(opened, path)
    except DidgenError as error:
        return Rejection.of(path, "non-binary-mask", str(error))
    if mask.shape != (size[1], size[0]):
        shape = f"{mask.shape[1]}x{mask.shape[0]}"
        sentence = f"{path} is {shape} pixels but {image} is {size[0]}x{size[1]}; draw it again."
        return Rejection.of(path, "mask-size", sentence)
    if not mask.any():
        sentence = f"{path} is empty; draw the lesion or take mask and image out."
        return Rejection.of(path, "empty-mask", sentence)
    return None


def _without_duplicates(sound: Iterable[_Sound], rejections: list[Rejection]) -> list[_Sound]:
    by_key: dict[str, Path] = {}
    by_content: dict[str, Path] = {}
    kept = []
    for found in sound:
        key, path = found.candidate.key, found.candidate.image
        if key in by_key:
            sentence = f"{path} has the same id {key} as {by_key[key]}; rename or remove one."
            rejections.append(Rejection.of(path, "duplicate-id", sentence))
        elif found.sha256 in by_content:
            sentence = f"{path} is a copy of {by_content[found.sha256]}; remove one of the two."
            rejections.append(Rejection.of(path, "duplicate-content", sentence))
        else:
            by_key[key] = by_content[found.sha256] = path
            kept.append(found)
    return kept


def _without_split_conflicts(sound: list[_Sound], rejections: list[Rejection]) -> list[_Sound]:
    given = _given_splits(sound)
    kept = []
    for found in sound:
        candidate = found.candidate
        if candidate.split in (None, given.get(candidate.lesion_id)):
            kept.append(found)
        else:
            sentence = (
                f"{candidate.image} is given to {candidate.split} but its lesion "
                f"{candidate.lesion_id} to {given[candidate.lesion_id]}; give both the same split."
            )
            rejections.append(Rejection.of(candidate.image, "split-conflict", sentence))
    return kept


def _given_splits(sound: Iterable[_Sound]) -> dict[str, Split]:
    """The split given first for each lesion that has one."""
    splits: dict[str, Split] = {}
    for found in sound:
        if found.candidate.split is not None:
            splits.setdefault(found.candidate.lesion_id, found.candidate.split)
    return splits


def _lesions_known(sound: Iterable[_Sound], trained_on: TrainedOn) -> set[str]:
    """The lesions of which an image is one that a model was trained on."""
    return {
        found.candidate.lesion_id
        for found in sound
        if trained_on.knows(
            found.candidate, found.sha256, found.digests.pixels, found.digests.published
        )
    }


def _without_known_tests(
    sound: Iterable[_Sound], trained: Container[str], model: str, rejections: list[Rejection]
) -> list[_Sound]:
    """Without the images that are given to val or test and whose lesion a model was trained on."""
    kept = []
    for found in sound:
        candidate = found.candidate
        if candidate.split in (None, "train") or candidate.lesion_id not in trained:
            kept.append(found)
        else:
            sentence = (
                f"{candidate.image} is given to {candidate.split}, but {model} was trained on it "
                "or on its lesion; test without it, or with another model."
            )
            rejections.append(Rejection.of(candidate.image, "trained-on", sentence))
    return kept


def _records(
    sound: list[_Sound],
    root: Path,
    seed: int,
    fractions: Fractions,
    trained: Container[str],
    rejections: list[Rejection],
) -> list[SourceRecord]:
    given = _given_splits(sound)
    undecided = [
        (found.candidate.lesion_id, found.candidate.label)
        for found in sound
        if found.candidate.lesion_id not in given
    ]
    splits = given | split_groups(undecided, seed=seed, fractions=fractions, training=trained)
    records = []
    for found in sound:
        candidate = found.candidate
        mask = candidate.mask
        if len(candidate.key) > LONGEST_KEY:
            sentence = (
                f"{candidate.image} has a name of more than {LONGEST_KEY} characters; rename it."
            )
            rejections.append(Rejection.of(candidate.image, "bad-record", sentence))
            continue
        try:
            record = SourceRecord(
                key=candidate.key,
                image=candidate.image.relative_to(root).as_posix(),
                width=found.width,
                height=found.height,
                sha256=found.sha256,
                mask=mask.relative_to(root).as_posix() if mask else None,
                label=candidate.label,
                lesion_id=candidate.lesion_id,
                split=splits[candidate.lesion_id],
                source=candidate.source,
                licence=candidate.licence,
                mask_sha256=found.mask_sha256,
                pixels=found.digests.pixels,
                published=found.digests.published,
            )
        except ValidationError as error:
            sentence = f"{candidate.image}: {first_fault(error)}; rename or correct it."
            rejections.append(Rejection.of(candidate.image, "bad-record", sentence))
        else:
            records.append(record)
    return records
