"""Admission: what an importer found, looked at file by file and made records or rejections."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from didgen.manifests.choices import MaskOrientation, Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.finding.examination import Sound, examined
from didgen.manifests.importers.finding.groups import (
    check_classes,
    check_ids,
    classes_of,
    grouped,
    refuse_torn_groups,
)
from didgen.manifests.importers.finding.harvest import Candidate, Harvest
from didgen.manifests.importers.finding.trees import listed
from didgen.manifests.progress import Progress
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn
from didgen.manifests.sources.carried_over import with_captions
from didgen.manifests.sources.records import (
    HEADER_FILE,
    SourceHeader,
    SourceManifest,
    SourceRecord,
    first_fault,
    refuse_others,
    sound_records,
    writing,
)
from didgen.manifests.sources.rejections import Rejection, writable, write_rejections
from didgen.manifests.sources.splits import Fractions, check_fractions, split_groups

ForModel = tuple[str, TrainedOn]
"""A model that the source is for, and what it was trained on."""

WORKERS = min(8, os.cpu_count() or 1)
"""Threads: Pillow decodes and OpenSSL hashes without Python's lock. Processes were no faster on two
cores, and each costs half a second before its first image."""

AT_ONCE = 1000
"""Images that are given to the threads at a time."""

LONGEST_KEY = 75
"""Characters of a key: a mix puts `real-` before it, and a shard takes 80."""

FEW_CORNERS = 0.1
"""The share of masks that may cover all corners of their images before it is told."""


@dataclass(frozen=True)
class ImportOptions:
    """What can be asked of any importer: how images are dealt, and how masks are read.

    `mask_orientation` says what masks of photographs that EXIF turns were drawn on, where both
    would fit. `progress` is called with the number of images looked at and their total.
    """

    seed: int = 42
    fractions: Fractions = (0.8, 0.1, 0.1)
    for_models: Sequence[ForModel] = ()
    mask_orientation: MaskOrientation | None = None
    invert_masks: bool = False
    progress: Progress | None = None
    workers: int = WORKERS

    def check(self) -> None:
        """Raise a `DidgenError` for shares that are none, and for a model that lists no images."""
        check_fractions(self.fractions)
        for model, trained_on in self.for_models:
            if not trained_on:
                raise DidgenError(
                    f"No {TRAINED_ON_NAME} was found for the model {model}; check its name and, "
                    "for one of the hub, the connection. Only models that didgen trained have such "
                    "a list."
                )


@dataclass(frozen=True)
class Import:
    """The result of an importer: the manifest, every file left out with its reason, and sentences
    on what was understood. `label_map` counts a public set's labels by the class they became."""

    manifest: SourceManifest
    rejections: tuple[Rejection, ...]
    notes: tuple[str, ...] = ()
    label_map: Mapping[tuple[str, str | None], int] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write `rejected.jsonl`, then the manifest; captions there of the same images are kept.

        Files of these names that no import wrote are a `DidgenError`.
        """
        refuse_others(folder)
        with writing(folder):
            records = with_captions(self.manifest.records, sound_records(folder))
            # Without the mark nobody takes what is half-written for a manifest.
            (folder / HEADER_FILE).unlink(missing_ok=True)
            write_rejections(folder, self.rejections)
            replace(self.manifest, records=records).write(folder)


def admit(harvest: Harvest, *, importer: str, root: Path, options: ImportOptions) -> Import:
    """Open every candidate once, keep the sound ones and draw the splits that are not given.

    Each image and mask is decoded in full. Of two sound candidates with the same key or the same
    pixels the first in key order stays, one with a label before one without, and none where
    their labels contradict each other. A patient, or a lesion of nobody known, has one split, given
    or drawn; two given ones are a `DidgenError`. Those that one of `for_models` was trained on go
    to train, or are left out where another split is given. A class that is lost whole, or nothing
    kept at all, is a `DidgenError`. A failing drive is an OSError: half a data set is not to pass
    for a whole one.
    """
    options.check()
    check_classes(root, harvest)
    check_ids(root, harvest)
    harvest.candidates = grouped(harvest)
    sound = _without_duplicates(_examined(harvest, options), harvest)
    _refuse_doubtful_masks(sound)
    refuse_torn_groups(root, [found.candidate for found in sound])
    sound, trained = _for_models(sound, options, harvest)
    records = _records(sound, root, options, trained, harvest)
    if not records:
        rejections = harvest.rejections
        first = f"; the first reason: {rejections[0].sentence}" if rejections else "."
        raise DidgenError(f"Nothing could be imported from {root}{first}")
    kept = {record.label for record in records if record.label}
    _refuse_lost_classes(root, kept, harvest)
    _note_masks(sound, options, harvest)
    header = _header(importer, root, classes_of(kept), options)
    return Import(
        SourceManifest(header, tuple(records)),
        tuple(harvest.rejections),
        tuple(harvest.notes),
        dict(harvest.label_map),
    )


def _header(
    importer: str, root: Path, classes: tuple[str, ...], options: ImportOptions
) -> SourceHeader:
    try:
        return SourceHeader(
            importer=importer,
            didgen_version=version("didgen"),
            root=str(root),
            classes=classes,
            seed=options.seed,
            fractions=options.fractions,
            for_models=tuple(model for model, _ in options.for_models),
        )
    except ValidationError as error:
        raise DidgenError(f"{root} cannot be imported: {first_fault(error)}; rename it.") from None


def _examined(harvest: Harvest, options: ImportOptions) -> list[Sound]:
    """The sound candidates in key order, those with a label before their namesakes without."""
    queue = sorted(
        harvest.candidates,
        key=lambda one: (one.key, one.label is None, one.mask is None, one.image),
    )
    sound: list[Sound] = []
    with ThreadPoolExecutor(options.workers) as pool:
        examine = partial(
            examined, drawn_on=options.mask_orientation, inverted=options.invert_masks
        )
        # A pool takes all that it is given at once, and keeps more of each than its outcome.
        outcomes = chain.from_iterable(
            pool.map(examine, queue[start : start + AT_ONCE])
            for start in range(0, len(queue), AT_ONCE)
        )
        for done, outcome in enumerate(outcomes, 1):
            if isinstance(outcome, Rejection):
                harvest.rejections.append(outcome)
            else:
                sound.append(outcome)
            if options.progress:
                options.progress(done, len(queue))
    return sound


def _without_duplicates(sound: Iterable[Sound], harvest: Harvest) -> list[Sound]:
    """The first image of each key and each content; none of a content under two labels."""
    contents: defaultdict[str, list[Candidate]] = defaultdict(list)
    sound = list(sound)
    for found in sound:
        contents[found.digests.pixels].append(found.candidate)
    by_key: dict[str, Path] = {}
    by_content: dict[str, Candidate] = {}
    kept, torn = [], 0
    for found in sound:
        one = found.candidate
        first = by_content.get(found.digests.pixels)
        others = [
            o for o in contents[found.digests.pixels] if {o.label, one.label} - {None, one.label}
        ]
        if one.label and others:
            sentence = (
                f"{one.image} is {one.label}, and {others[0].image}, of the same pixels, is "
                f"{others[0].label}; keep the right one."
            )
            harvest.reject(one.image, "contradiction", sentence)
        elif one.key in by_key:
            sentence = f"{one.image} has the same id {one.key} as {by_key[one.key]}; rename one."
            harvest.reject(one.image, "duplicate-id", sentence)
        elif first is not None:
            torn += len({first.split, one.split} - {None}) > 1
            sentence = f"{one.image} is a copy of {first.image}; remove one of the two."
            harvest.reject(one.image, "duplicate-content", sentence)
        else:
            by_key[one.key], by_content[found.digests.pixels] = one.image, one
            kept.append(found)
    if torn:
        harvest.note(f"Warning: {torn} images stood in two splits; the copies were left out.")
    return kept


def _refuse_doubtful_masks(sound: Sequence[Sound]) -> None:
    """Raise a `DidgenError` for masks that fit both the photograph as it is shown and as stored."""
    doubtful = [found.candidate for found in sound if found.mask and found.mask.doubtful]
    if doubtful:
        raise DidgenError(
            f"{len(doubtful)} photographs are turned by their EXIF and their masks fit both ways, "
            f"{doubtful[0].image} first; say what the masks were drawn on: --mask-orientation "
            "upright for the photograph as viewers show it, or stored for its pixels."
        )


def _for_models(
    sound: list[Sound], options: ImportOptions, harvest: Harvest
) -> tuple[list[Sound], set[str]]:
    """Without images that are given to val or test and are known to a model; the known groups."""
    trained: set[str] = set()
    for model, trained_on in options.for_models:
        known = {
            found.candidate.group
            for found in sound
            if trained_on.knows(
                found.candidate, found.sha256, found.digests.pixels, found.digests.published
            )
        }
        kept = []
        for found in sound:
            one = found.candidate
            if one.split in (None, "train") or one.group not in known:
                kept.append(found)
            else:
                sentence = (
                    f"{one.image} is given to {one.split}, but {model} was trained on it or on its "
                    "lesion or patient; test without it, or with another model."
                )
                harvest.reject(one.image, "trained-on", sentence)
        sound, trained = kept, trained | known
    return sound, trained


def _records(
    sound: list[Sound], root: Path, options: ImportOptions, trained: set[str], harvest: Harvest
) -> list[SourceRecord]:
    given: dict[str, Split] = {
        one.group: one.split for one in (found.candidate for found in sound) if one.split
    }
    undecided = [
        (found.candidate.group, found.candidate.label)
        for found in sound
        if found.candidate.group not in given
    ]
    splits = given | split_groups(
        undecided, seed=options.seed, fractions=options.fractions, training=trained
    )
    records = []
    for found in sound:
        try:
            records.append(_record(found, root, splits[found.candidate.group]))
        except (ValidationError, DidgenError) as error:
            image = found.candidate.image
            fault = first_fault(error) if isinstance(error, ValidationError) else str(error)
            sentence = f"{image}: {fault}; rename or correct it."
            harvest.reject(image, "bad-record", sentence)
    return records


def _record(found: Sound, root: Path, split: Split) -> SourceRecord:
    one, mask = found.candidate, found.mask
    try:
        str(one.image).encode()
    except UnicodeEncodeError:
        raise DidgenError("its path is not UTF-8") from None
    if len(one.key) > LONGEST_KEY:
        raise DidgenError(f"its name has more than {LONGEST_KEY} characters")
    return SourceRecord(
        key=one.key,
        image=one.image.relative_to(root).as_posix(),
        width=found.width,
        height=found.height,
        sha256=found.sha256,
        mask=one.mask.relative_to(root).as_posix() if one.mask else None,
        label=one.label,
        lesion_id=one.lesion_id,
        patient_id=one.patient_id,
        split=split,
        source=one.source,
        licence=one.licence,
        mask_sha256=found.mask_sha256,
        mask_orientation=mask.drawn.orientation if mask else 1,
        mask_inverted=mask.drawn.inverted if mask else False,
        pixels=found.digests.pixels,
        published=found.digests.published,
    )


def _refuse_lost_classes(root: Path, kept: set[str], harvest: Harvest) -> None:
    """Raise a `DidgenError` for a class of which every image was left out."""
    told = {rejection.file: rejection.sentence for rejection in harvest.rejections}
    found = {
        one.label: told.get(writable(str(one.image))) or told.get(writable(str(one.mask)), "")
        for one in harvest.candidates
        if one.label
    }
    lost = {name: why for name, why in (found | harvest.labels).items() if name not in kept}
    if lost:
        names = sorted(lost)
        more = f", nor of {listed(names[1:])}," if len(lost) > 1 else ""
        raise DidgenError(
            f"No image of the class {names[0]}{more} in {root} could be imported; correct them, or "
            f"take the class out; one reason: {lost[names[0]]}"
        )


def _note_masks(sound: Sequence[Sound], options: ImportOptions, harvest: Harvest) -> None:
    """Say how many masks were turned along or inverted, and how many may be inside out."""
    fits = [found.mask for found in sound if found.mask]
    turned = sum(fit.drawn.orientation != 1 for fit in fits)
    if turned:
        harvest.note(f"{turned} masks were turned along with their photographs, as EXIF says.")
    if options.invert_masks and fits:
        harvest.note(f"{len(fits)} masks were inverted.")
    corners = sum(fit.corners for fit in fits)
    if corners > FEW_CORNERS * len(fits):
        mend = "without" if options.invert_masks else "with"
        harvest.note(
            f"Warning: {corners} of {len(fits)} masks cover all four corners of their images; if "
            f"they are white where the skin is, import again {mend} --invert-masks."
        )
