"""Perceptual hashes: near-duplicates by the Hamming distance of 256 bits."""

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_SIDE = 16
"""Side of the perceptual hash: 256 bits (Zauner 2010, by imagehash)."""

NEAR = 48
"""Bits by which the hashes of near-duplicates differ at most. On 8504 images of ISIC 2018 it finds
the pairs of one lesion under two ids, at 128 px and above, and one pair more at 128 px."""

BLOCK = 1024
"""Hashes that are compared with all others at a time."""


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The perceptual hash of an image (3, S, S), (256,)."""
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    return imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel()


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
