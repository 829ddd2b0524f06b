"""Copies: synthetic images that are nearly a training image, by features and by perceptual hash.

Notable choices:
- Similarity is the cosine of features less their mean over the training images: what all
  dermoscopic images share says nothing about a copy.
- A query is looked up in the eight ways that a square can lie, since models trained on mirrored or
  turned images copy them so. That is eight passes of the extractor for each query, and one for
  each training image; the threshold comes from held-out images that were looked up likewise.
- The hash is judged by the distance that `perceptual_hash` takes for near-duplicates.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont
from statsmodels.stats.proportion import proportion_confint
from torchvision.transforms.v2 import functional as transforms

from didgen.downstream.stats.paired import LEVEL
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import encoded
from didgen.manifests.perceptual_hash import BLOCK, NEAR, distances

Pixels = NDArray[np.uint8]

GAP, TITLE = 8, 48
"""Pixels between the pairs of a sheet, and those of the three lines above each."""

QUANTILE = 0.999
"""Share of the held-out images that the threshold calls no copy."""


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each of N queries, by cosine and by hash.

    places, hash_places: (N,) of training images; similarities: (N,) in [-1, 1]; bits: (N,) of 256
    that differ.
    """

    places: NDArray[np.int64]
    similarities: NDArray[np.float64]
    hash_places: NDArray[np.int64]
    bits: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence["Nearest"]) -> "Nearest":
        """The parts one after the other."""
        names = ("places", "similarities", "hash_places", "bits")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class TrainingIndex:
    """The training images' features (T, D), hashes (T, 256) and units (T), to look up queries."""

    def __init__(
        self, features: NDArray[np.floating[Any]], hashes: NDArray[np.bool_], units: Sequence[str]
    ) -> None:
        self.centre = features.mean(0, dtype=np.float64)
        self.directions = self._directions(features)
        self.hashes, self.units = hashes, np.asarray(units)

    def _directions(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        centred = (features - self.centre).astype(np.float32)
        lengths = np.linalg.norm(centred, axis=-1, keepdims=True)
        return centred / np.maximum(lengths, np.finfo(np.float32).tiny)

    def nearest(
        self,
        features: NDArray[np.floating[Any]],
        hashes: NDArray[np.bool_],
        units: ArrayLike | None = None,
    ) -> Nearest:
        """Look up queries (B, O, D) and (B, O, 256), each in O orientations; the best one counts.

        units (B,): a training image of a query's own unit (patient where known, else lesion) is not
        looked at.
        """
        count, views = features.shape[:2]
        similarities = self._directions(features.reshape(count * views, -1)) @ self.directions.T
        cosines = similarities.reshape(count, views, -1).max(1).astype(np.float64)
        bits = distances(hashes.reshape(count * views, -1), self.hashes)
        bits = bits.reshape(count, views, -1).min(1)
        if units is not None:
            same = np.asarray(units)[:, None] == self.units
            cosines = np.where(same, -1.0, cosines)
            bits = np.where(same, self.hashes.shape[1], bits)
        rows = np.arange(count)
        places, hash_places = cosines.argmax(1), bits.argmin(1)
        return Nearest(places, cosines[rows, places], hash_places, bits[rows, hash_places])

    def similarities(
        self, features: NDArray[np.floating[Any]], places: Sequence[int]
    ) -> NDArray[np.float64]:
        """The similarity of each query, as it lies, (N, D), to the training image at its place."""
        own = self.directions[list(places)]
        return (self._directions(features) * own).sum(-1, dtype=np.float64)


@dataclass(frozen=True)
class Calibration:
    """The similarity above which an image is a copy, and the held-out images that it comes from.

    duplicates: held-out images that are near-duplicates of a training image by hash, of another
    unit by name; they are no measure of how near strangers come, and are left out.
    """

    threshold: float
    n: int
    duplicates: NDArray[np.int64]


def calibrate(held_out: Nearest, known: ArrayLike | None = None) -> Calibration:
    """The threshold from held-out images, looked up without their own units.

    known (N,): whether the data say which lesion or patient an image shows; of the others, a
    further photograph of the same lesion may stand in training, so that they count only where none
    is known. The threshold is their similarity at `QUANTILE`, such that at most that share of them
    lies above; with fewer than 1 / (1 - QUANTILE) images it is their largest. Raises DidgenError
    where every one of them is nearly a training image.
    """
    near = held_out.bits <= NEAR
    counted = ~near if known is None or not np.any(known) else ~near & np.asarray(known)
    kept = held_out.similarities[counted]
    if not len(kept):
        raise DidgenError(
            f"All {len(near)} held-out images are nearly training images, so that they say nothing "
            "of copies; import the source again, which splits by lesion."
        )
    threshold = float(np.quantile(kept, QUANTILE, method="inverted_cdf"))
    return Calibration(threshold, len(kept), np.flatnonzero(near))


def are_copies(nearest: Nearest, threshold: float) -> NDArray[np.bool_]:
    """Which queries are copies: above the threshold, or near by hash; (N,)."""
    return (nearest.similarities > threshold) | (nearest.bits <= NEAR)


def rate(flags: ArrayLike) -> dict[str, Any]:
    """How many of the flags (N,) are true, their share, and its Wilson interval (1927)."""
    flags = np.asarray(flags, bool)
    n, count = len(flags), int(flags.sum())
    if not n:
        return {"n": 0, "count": 0, "rate": None, "interval": None}
    low, high = proportion_confint(count, n, alpha=1 - LEVEL, method="wilson")
    return {"n": n, "count": count, "rate": count / n, "interval": (float(low), float(high))}


def _mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _turned(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


def _recompressed(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=50))).convert("RGB")


def _recoloured(image: Image.Image) -> Image.Image:
    shifted = np.asarray(image) * np.array([1.1, 1.0, 0.85]) + np.array([8, -4, 0])
    return Image.fromarray(shifted.clip(0, 255).astype(np.uint8))


def _cropped(image: Image.Image) -> Image.Image:
    side = round(0.9 * image.width)
    return transforms.resize(transforms.center_crop(image, [side, side]), list(image.size))


PLANTED: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": _mirrored,
    "quarter turn": _turned,
    "JPEG at quality 50": _recompressed,
    "colours shifted": _recoloured,
    "cropped to 90 %": _cropped,
}
"""What is done to training images that are then looked for."""


def planted(pixels: Pixels, kind: str) -> Pixels:
    """A copy (3, S, S) of a training image (3, S, S), changed as its kind in `PLANTED` says."""
    image = PLANTED[kind](Image.fromarray(pixels.transpose(1, 2, 0)))
    return np.asarray(image).transpose(2, 0, 1)


def duplicates_within(hashes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of N images are near-duplicates of another of them, by hash (N, 256), as they lie."""
    found = np.zeros(len(hashes), bool)
    for start in range(0, len(hashes), BLOCK):
        apart = distances(hashes[start : start + BLOCK], hashes)
        rows = np.arange(len(apart))
        apart[rows, start + rows] = hashes.shape[1]
        found[start : start + BLOCK] = (apart <= NEAR).any(1)
    return found


def contact_sheet(pairs: Sequence[tuple[Pixels, Pixels, str]], columns: int = 4) -> bytes:
    """A PNG of pairs (3, S, S): a synthetic image beside its nearest training image, titled."""
    side = pairs[0][0].shape[-1] if pairs else 0
    width, height = 2 * side + 2 * GAP, side + TITLE + GAP
    size = (columns * width + GAP, -(-len(pairs) // columns) * height + GAP)
    sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(12)
    pen = ImageDraw.Draw(sheet)
    for number, (synthetic, real, title) in enumerate(pairs):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        pen.multiline_text((left, top), title, fill="black", font=font, spacing=2)
        for place, pixels in enumerate((synthetic, real)):
            image = Image.fromarray(pixels.transpose(1, 2, 0))
            sheet.paste(image, (left + place * (side + 1), top + TITLE))
    return encoded(sheet, "PNG")
