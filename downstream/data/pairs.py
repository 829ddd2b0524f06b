"""Pairs: images with lesion masks in memory, real and synthetic ones, and parts of them.

Notable choices:
- A mask is brought to the recipe's size by its share of each pixel's area, and is lesion where that
  is more than half. The nearest pixel instead would move outlines by up to half a pixel and lose
  thin parts by chance, the figures of a test with them.
- Which pairs a smaller training set has is told by a hash of seed and key: those of a smaller set
  are among those of a larger one, and an image more or less changes no other's place.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from didgen.downstream.data.images import Pictures, fitted, image_file, in_threads, synthetic_files
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import AS_STORED, as_mask, decode, encoded, read_file, upright
from didgen.manifests.progress import Progress
from didgen.manifests.reviews.redrawn import redrawn_mask
from didgen.manifests.runs.training_samples import SyntheticSample
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from didgen.manifests.sources.subset import rank
from didgen.manifests.sources.subset import subset as nested_subset

File: TypeAlias = tuple[bytes, Path]


@dataclass(frozen=True)
class Pairs(Pictures):
    """Images with lesion masks in memory.

    masks: (N, S, S) bool. guides: the unit of the image whose mask guided a synthetic pair, empty
    where its layout was drawn; a real pair's is its own.
    """

    masks: Tensor
    guides: tuple[str, ...]

    def planes(self, place: int) -> Tensor:
        """Pixels and mask as one, (4, S, S) uint8."""
        return torch.cat([self.pixels[place], 255 * self.masks[place][None].to(torch.uint8)])

    def sample(self, place: int, pixels: Tensor, further: Tensor) -> dict[str, Any]:
        # The crop smooths a mask like its image, by area; torchvision's own masks go by the nearest
        # pixel from its corner, which lies up to half a pixel beside the image.
        return {"pixels": pixels, "mask": (further > 127).to(torch.uint8)}

    def sha256(self) -> str:
        """Hex hash of all that is trained and tested on."""
        reported = hashlib.sha256("\n".join((*self.keys, *self.units, *self.guides)).encode())
        for part in (self.pixels, self.masks):
            reported.update(part.numpy().tobytes())
        return reported.hexdigest()


def load_real_pairs(
    source: SourceManifest,
    records: Sequence[SourceRecord],
    size: int,
    progress: Progress | None = None,
) -> Pairs:
    """The images and masks of records with a mask.

    An image that is not as it was imported, and a mask of another size, are a `DidgenError`.
    """

    def files() -> Iterator[tuple[File, File]]:
        for record in records:
            path = source.mask_path(record)
            image = image_file(source, record), source.image_path(record)
            yield image, (mask_file(source, record), path)

    units = tuple(record.unit for record in records)
    pixels, masks = _squares(files(), len(records), size, progress)
    return Pairs(tuple(record.key for record in records), units, pixels, masks, units)


def mask_file(source: SourceManifest, record: SourceRecord) -> bytes:
    """A record's mask over its upright image as a file: its own, or a new one where it is turned
    along or inverted."""
    if record.drawn == AS_STORED:
        return read_file(source.mask_path(record))
    return encoded(source.read_mask(record), "PNG")


def load_synthetic_pairs(
    run: Path,
    taken: Sequence[SyntheticSample],
    source: SourceManifest,
    size: int,
    progress: Progress | None = None,
) -> Pairs:
    """The pairs of a run by webdataset, those in `taken`, which are in the order of the run.

    A sample that is not there, or has no image or mask, is a `DidgenError`.
    """

    def files() -> Iterator[tuple[File, File]]:
        for one, place, members in synthetic_files(run, "pairs", taken):
            image, mask = (
                (members.get(ending, b""), Path(f"{place}.{ending}"))
                for ending in ("jpg", "mask.png")
            )
            if one.curves:
                mask = redrawn_mask(one.curves, *image), mask[1]
            yield image, mask

    units = {record.key: record.unit for record in source.records}
    pixels, masks = _squares(files(), len(taken), size, progress)
    names = tuple(f"synthetic-{one.key}" for one in taken)
    return Pairs(names, names, pixels, masks, tuple(units.get(one.guide, "") for one in taken))


def square_pair(image: File, mask: File, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The central squares of an image and its mask; (3, size, size) and (size, size)."""
    picture = upright(decode(*image))
    lesion = as_mask(decode(*mask), mask[1])
    if picture.size != lesion.shape[::-1]:
        raise DidgenError(
            f"{mask[1]} has {lesion.shape[1]} x {lesion.shape[0]} pixels and its image "
            f"{picture.width} x {picture.height}; replace the mask."
        )
    # Pillow's box filter is the mean over a pixel's area; as floats it is not rounded.
    areas = ImageOps.fit(
        Image.fromarray(lesion.astype(np.float32)), (size, size), Image.Resampling.BOX
    )
    return fitted(picture, size), np.asarray(areas) > 0.5


def _squares(
    files: Iterator[tuple[File, File]], count: int, size: int, progress: Progress | None
) -> tuple[Tensor, Tensor]:
    pixels = torch.empty((count, 3, size, size), dtype=torch.uint8)
    masks = torch.empty((count, size, size), dtype=torch.bool)
    decoded = in_threads(lambda file: square_pair(*file, size), files)
    for place, (image, mask) in enumerate(decoded):
        pixels[place], masks[place] = torch.from_numpy(image.copy()), torch.from_numpy(mask)
        if progress:
            progress(place + 1, count)
    return pixels, masks


def subset_places(pairs: Pairs, count: int | None, seed: int | Sequence[int]) -> Sequence[int]:
    """The places of so many of the pairs, in their order; those of a smaller count are among them.

    None is all of them; more than there are is a `DidgenError`.
    """
    if count is None:
        return range(len(pairs))
    if count > len(pairs):
        raise DidgenError(
            f"`real` asks for {count} training pairs and the source has {len(pairs)}; ask for "
            "fewer, or for all by null."
        )
    kept = nested_subset(pairs.keys, count, seed)
    return [place for place, key in enumerate(pairs.keys) if key in kept]


def folds(units: Sequence[str], count: int, seed: int) -> NDArray[np.int64]:
    """The fold of each pair in [0, count): patients or lesions are dealt whole, in a hashed
    order."""
    ranks = sorted(set(units), key=lambda unit: rank(seed, "fold", unit))
    if len(ranks) < count:
        raise DidgenError(
            f"{len(ranks)} lesions or patients cannot make {count} folds; set fewer "
            "`filter.folds`, or take more real pairs."
        )
    dealt = {unit: place % count for place, unit in enumerate(ranks)}
    return np.array([dealt[unit] for unit in units], np.int64)
