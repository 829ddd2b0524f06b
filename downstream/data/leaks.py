"""Leaks: what would let a network see its test images in training, and what makes a test void."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from didgen.downstream.data.images import Pictures
from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.perceptual_hash import HASH_SIDE, NEAR, nearest, perceptual_hash
from didgen.manifests.progress import Progress
from didgen.manifests.sources.records import SPLITS, SourceRecord
from didgen.manifests.sources.splits import group_of, in_words

P = TypeVar("P", bound=Pictures)


@dataclass(frozen=True)
class NearDuplicate:
    """An image of one split that is nearly one of a later split; `bits` of 256 differ."""

    split: Split
    key: str
    later_split: Split
    later_key: str
    bits: int


def check_records(
    records: Mapping[Split, Sequence[SourceRecord]], classes: Sequence[str], folder: object
) -> None:
    """Raise a `DidgenError` for a class missing in a split, a lesion in two splits, and a test
    lesion of two classes, which has no place among those that intervals are drawn from."""
    check_classes(
        {split: {record.label for record in part} for split, part in records.items()},
        classes,
        folder,
    )
    check_lesions(records, folder)
    first: dict[str, SourceRecord] = {}
    for record in records["test"]:
        other = first.setdefault(record.lesion_id, record)
        if record.label != other.label:
            raise DidgenError(
                f"{folder} has the test lesion {record.lesion_id} as {other.label} ({other.key}) "
                f"and as {record.label} ({record.key}); correct the labels and import again."
            )


def check_lesions(records: Mapping[Split, Sequence[SourceRecord]], folder: object) -> None:
    """Raise a `DidgenError` for a lesion, or a known patient, in two splits."""
    for one, other in combinations(SPLITS, 2):
        there = {group: record.key for record in records[one] for group in _groups(record)}
        for record in records[other]:
            for group in _groups(record):
                if group in there:
                    raise DidgenError(
                        f"{folder} has {in_words(group)} in {one} ({there[group]}) and in {other} "
                        f"({record.key}); import it again, which splits by lesion and patient."
                    )


def _groups(record: SourceRecord) -> set[str]:
    return {group_of(record.lesion_id, None), group_of(record.lesion_id, record.patient_id)}


def check_classes(
    labels: Mapping[Split, Set[str | None]], classes: Sequence[str], folder: object
) -> None:
    """Raise a `DidgenError` for a class that a split has no image of."""
    for split in SPLITS:
        if missing := [name for name in classes if name not in labels[split]]:
            raise DidgenError(
                f"{folder} has no image of {missing[0]} in {split}; import it again with other "
                f"shares or another seed, or add {missing[0]} to `exclude`."
            )


def perceptual_hashes(images: Pictures, progress: Progress | None = None) -> NDArray[np.bool_]:
    """The perceptual hash of each image, (N, 256)."""
    hashes = np.empty((len(images), HASH_SIDE**2), bool)
    for place, pixels in enumerate(images.pixels.numpy()):
        hashes[place] = perceptual_hash(pixels)
        if progress:
            progress(place + 1, len(images))
    return hashes


def near_duplicates(
    images: Mapping[Split, Pictures], hashes: Mapping[Split, NDArray[np.bool_]]
) -> list[NearDuplicate]:
    """Every image that is nearly one of a later split, with the nearest such; train comes first.

    Turned or mirrored copies have other hashes, and are not found.
    """
    found: dict[tuple[Split, str], NearDuplicate] = {}
    for split, later in combinations(SPLITS, 2):
        for key, place, bits in zip(
            images[split].keys, *nearest(hashes[split], hashes[later]), strict=True
        ):
            if bits <= NEAR and ((split, key) not in found or bits < found[split, key].bits):
                later_key = images[later].keys[place]
                found[split, key] = NearDuplicate(split, key, later, later_key, int(bits))
    return list(found.values())


def without(images: Mapping[Split, P], duplicates: Sequence[NearDuplicate]) -> dict[Split, P]:
    """The images that are no near-duplicates of a later split."""
    gone = {(one.split, one.key) for one in duplicates}
    return {
        split: part.take([i for i, key in enumerate(part.keys) if (split, key) not in gone])
        for split, part in images.items()
    }


def refuse(duplicates: Sequence[NearDuplicate], folder: object) -> None:
    """Raise a `DidgenError` that names the first near-duplicate, if there is one."""
    if duplicates:
        first = duplicates[0]
        raise DidgenError(
            f"{folder}: {first.key} in {first.split} is nearly {first.later_key} in "
            f"{first.later_split} ({first.bits} of {HASH_SIDE**2} bits differ), one of "
            f"{len(duplicates)} near-duplicates; take it out, or set `near_duplicates: drop` to "
            "train without it."
        )


def with_outside(learned: Iterable[Pictures], outside: P, place: Path | None) -> P:
    """The images of another source without those that are nearly some that were learned from."""
    mine = perceptual_hashes(outside)
    near = np.zeros(len(outside), bool)
    for part in learned:
        if len(part):
            near |= nearest(mine, perceptual_hashes(part))[1] <= NEAR
    if near.all():
        raise DidgenError(f"{place} has no image left that is not nearly one that is learned from.")
    return outside.take(np.flatnonzero(~near).tolist())
