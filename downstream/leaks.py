"""Leaks: what would let a network see its test images in training, and what makes a test void."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from downstream.data import Pictures, Progress
from manifests.errors import DidgenError
from manifests.records import SPLITS, SourceRecord, Split

P = TypeVar("P", bound=Pictures)

HASH_SIDE = 16
"""Side of the perceptual hash: 256 bits (Zauner 2010, by imagehash)."""

NEAR = 48
"""Bits by which the hashes of near-duplicates differ at most. On 8504 images of ISIC 2018 it finds
the pairs of one lesion under two ids, at 128 px and above, and one pair more at 128 px."""

BLOCK = 1024
"""Hashes that are compared with all others at a time."""


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
    """Raise a `DidgenError` for a lesion in two splits."""
    for one, other in combinations(SPLITS, 2):
        lesions = {record.lesion_id: record.key for record in records[one]}
        for record in records[other]:
            if record.lesion_id in lesions:
                raise DidgenError(
                    f"{folder} has the lesion {record.lesion_id} in {one} "
                    f"({lesions[record.lesion_id]}) and in {other} ({record.key}); import it "
                    "again, which splits by lesion."
                )


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


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The perceptual hash of an image (3, S, S), (256,)."""
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    return imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel()


def perceptual_hashes(images: Pictures, progress: Progress | None = None) -> NDArray[np.bool_]:
    """The perceptual hash of each image, (N, 256)."""
    hashes = np.empty((len(images), HASH_SIDE**2), bool)
    for place, pixels in enumerate(images.pixels.numpy()):
        hashes[place] = perceptual_hash(pixels)
        if progress:
            progress(place + 1, len(images))
    return hashes


def distances(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Bits in which hashes differ; (N, B) and (M, B) give (N, M)."""
    # Hamming distance by products of +1 and -1, which BLAS forms fast and float32 exactly.
    signs, others = (np.where(bits, 1, -1).astype(np.float32) for bits in (one, other))
    return ((one.shape[1] - signs @ others.T) / 2).round().astype(np.int64)


def nearest(
    hashes: NDArray[np.bool_], others: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nearest of others (M, 256) to each of N hashes (N, 256): its place, and the bits."""
    places, bits = (np.empty(len(hashes), np.int64) for _ in range(2))
    # All at once would be gigabytes for sets of a hundred thousand.
    for start in range(0, len(hashes), BLOCK):
        apart = distances(hashes[start : start + BLOCK], others)
        places[start : start + BLOCK] = apart.argmin(1)
        bits[start : start + BLOCK] = apart.min(1)
    return places, bits


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
