"""Embedding: images of a source or a run that pass by in batches, and what is kept of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from didgen.downstream.data.images import real_files, squares, synthetic_images
from didgen.downstream.quality.copies import Nearest, TrainingIndex
from didgen.downstream.quality.extractors import Extractor, batches, orientations
from didgen.manifests.choices import Config
from didgen.manifests.perceptual_hash import perceptual_hash
from didgen.manifests.runs.training_samples import SyntheticSample
from didgen.manifests.sources.records import SourceManifest, SourceRecord

RESIZE = "bicubic, antialiased (Pillow), central square"
"""How images are brought to their size, as Parmar et al. (2022) ask of figures like FID."""


@dataclass(frozen=True)
class Collection:
    """Images by key, with class ("" for none) and unit; `files` reads those at rising places."""

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    units: tuple[str, ...]
    files: Callable[[Sequence[int]], Iterator[tuple[bytes, Path]]]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, chosen: Sequence[int]) -> "Collection":
        """The images at rising places, as a collection of their own."""
        keys, labels, units = (
            tuple(part[place] for place in chosen) for part in (self.keys, self.labels, self.units)
        )
        return Collection(
            keys, labels, units, lambda places: self.files([chosen[place] for place in places])
        )

    def squares(self, places: Sequence[int], size: int) -> Iterator[NDArray[np.uint8]]:
        """The images at rising places, each (3, size, size)."""
        return squares(self.files(places), size, Image.Resampling.BICUBIC)

    def pictures(self, places: NDArray[np.int64], size: int) -> Tensor:
        """The images at some places in any order, in memory; (N, 3, size, size) uint8."""
        pixels = torch.empty((len(places), 3, size, size), dtype=torch.uint8)
        order = np.argsort(places)
        for place, image in zip(order, self.squares(places[order].tolist(), size), strict=True):
            pixels[place] = torch.from_numpy(image.copy())
        return pixels


def real_collection(source: SourceManifest, records: Sequence[SourceRecord]) -> Collection:
    """The images of records; a file that is not as it was imported is a `DidgenError`."""
    return Collection(
        tuple(record.key for record in records),
        tuple(record.label or "" for record in records),
        tuple(record.unit for record in records),
        lambda places: real_files(source, (records[place] for place in places)),
    )


def synthetic_collection(
    run: Path, config: Config, samples: Sequence[SyntheticSample], classes: Sequence[str]
) -> Collection:
    """Samples of a run, each a unit of its own; one that is not there is a `DidgenError`."""
    return Collection(
        tuple(one.key for one in samples),
        tuple(one.label for one in samples),
        tuple(f"synthetic-{one.key}" for one in samples),
        lambda places: synthetic_images(run, config, [samples[p] for p in places], classes),
    )


@dataclass(frozen=True)
class Embedded:
    """A collection with its features (N, D), hashes (N, 256) and nearest training images."""

    collection: Collection
    features: NDArray[np.float32]
    hashes: NDArray[np.bool_]
    nearest: Nearest | None = None

    def take(self, chosen: Sequence[int]) -> "Embedded":
        """A part of it, without what is nearest; `chosen` rises."""
        places = list(chosen)
        return Embedded(self.collection.take(places), self.features[places], self.hashes[places])


def embed(
    collection: Collection,
    extractor: Extractor,
    size: int,
    index: TrainingIndex | None = None,
    advance: Callable[[int], Any] = lambda count: None,
) -> Embedded:
    """Features and hashes of images at a size; with an index they are looked up in it too.

    `advance` is told how many images were seen, whenever some were.
    """
    features, hashes, nearest, done = [], [], [], 0
    for batch in batches(collection.squares(range(len(collection)), size)):
        units = collection.units[done : done + len(batch)]
        views, bits = views_of(batch, extractor, turned=index is not None)
        features.append(views[:, 0])
        hashes.append(bits[:, 0])
        if index is not None:
            nearest.append(index.nearest(views, bits, units))
        done += len(batch)
        advance(len(batch))
    return Embedded(
        collection,
        np.concatenate(features),
        np.concatenate(hashes),
        Nearest.joined(nearest) if nearest else None,
    )


def views_of(
    batch: Tensor, extractor: Extractor, *, turned: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features (B, O, D) and hashes (B, O, 256) of images (B, 3, S, S) in all orientations, or as
    they lie."""
    views = orientations(batch) if turned else [batch]
    hashes = [[perceptual_hash(image) for image in view.numpy()] for view in views]
    return np.stack([extractor(view) for view in views], 1), np.stack(hashes, 1)
