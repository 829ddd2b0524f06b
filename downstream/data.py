"""Images for the benchmarks: real ones from a source, synthetic ones from shards, in memory.

Notable choices:
- An image is decoded once, brought to its central square at the recipe's size, and kept as 8-bit
  pixels: trainings repeat over many seeds and arms, and decoding would be most of their time.
- Draw number g of a training takes its randomness from `[seed, g]`, however it is loaded.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from webdataset.tariterators import group_by_keys, tar_file_expander

from manifests.errors import DidgenError
from manifests.images import decode, read_file, upright
from manifests.records import SourceManifest, SourceRecord
from manifests.synthetic import Synthetic

Progress = Callable[[int, int], None]

AHEAD = 64
"""Images decoded at a time: bounds what waits in memory as encoded bytes."""


@dataclass(frozen=True)
class Images:
    """Labelled images in memory.

    pixels: (N, 3, S, S) uint8; labels: (N,) indices of classes; keys and lesions: N each, a
    synthetic image being a lesion of its own.
    """

    keys: tuple[str, ...]
    lesions: tuple[str, ...]
    labels: NDArray[np.int64]
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, places: Sequence[int]) -> "Images":
        """The images at these places."""
        return Images(
            tuple(self.keys[place] for place in places),
            tuple(self.lesions[place] for place in places),
            self.labels[list(places)],
            self.pixels[list(places)],
        )

    def __add__(self, other: "Images") -> "Images":
        return Images(
            self.keys + other.keys,
            self.lesions + other.lesions,
            np.concatenate([self.labels, other.labels]),
            torch.cat([self.pixels, other.pixels]),
        )


def load_real(
    source: SourceManifest,
    records: Sequence[SourceRecord],
    classes: Sequence[str],
    size: int,
    progress: Progress | None = None,
) -> Images:
    """The images of records with a label; one that is not as it was imported is a `DidgenError`."""

    def files() -> Iterator[tuple[bytes, Path]]:
        for record in records:
            path = source.image_path(record)
            data = read_file(path)
            if hashlib.sha256(data).hexdigest() != record.sha256:
                raise DidgenError(f"{path} has changed since it was imported; import it again.")
            yield data, path

    return Images(
        tuple(record.key for record in records),
        tuple(record.lesion_id for record in records),
        np.array([classes.index(record.label or "") for record in records], np.int64),
        _squares(files(), len(records), size, progress),
    )


def load_synthetic(
    run: Path,
    taken: Sequence[Synthetic],
    classes: Sequence[str],
    run_classes: Sequence[str],
    size: int,
    progress: Progress | None = None,
) -> Images:
    """The images of a run by webdataset, those in `taken` only, in the order of the run.

    `run_classes` are what the run's class indices stand for. A sample that is not there, or whose
    class index is not what its sidecar says, is a `DidgenError`.
    """
    wanted = {one.key: one for one in taken}
    shards = [run / "images" / name for name in dict.fromkeys(one.shard for one in taken)]

    def files() -> Iterator[tuple[bytes, Path]]:
        found = set()
        for sample in (sample for shard in shards for sample in _samples(shard)):
            key = sample["__key__"]
            if key not in wanted:
                continue
            place = Path(sample["__url__"]) / f"{key}.jpg"
            index, label = sample.get("cls", b"").decode(errors="replace"), wanted[key].label
            if not index.isdecimal() or run_classes[int(index) : int(index) + 1] != [label]:
                raise DidgenError(
                    f"{place.with_suffix('.cls')} says the class {index or 'none'}, and the "
                    f"sidecar {label}; run `didgen verify {run}`, and make the run again."
                )
            found.add(key)
            yield sample.get("jpg", b""), place
        if missing := wanted.keys() - found:
            raise DidgenError(
                f"{run} does not hold the image {min(missing)} that a sidecar lists; "
                f"run `didgen verify {run}`."
            )

    pixels = _squares(files(), len(taken), size, progress)
    return Images(
        tuple(f"synthetic-{one.key}" for one in taken),
        tuple(f"synthetic-{one.key}" for one in taken),
        np.array([classes.index(one.label) for one in taken], np.int64),
        pixels,
    )


def _samples(shard: Path) -> Iterator[dict[str, Any]]:
    """The samples of a tar by webdataset, which of itself leaves the file open."""
    with shard.open("rb") as stream:
        yield from group_by_keys(tar_file_expander([{"url": str(shard), "stream": stream}]))


def square(data: bytes, path: Path, size: int) -> NDArray[np.uint8]:
    """Decode an image, bring its short side to `size` and cut its middle; (3, size, size)."""
    image = upright(decode(data, path)).convert("RGB")
    fitted = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(fitted).transpose(2, 0, 1)


def _squares(
    files: Iterable[tuple[bytes, Path]], count: int, size: int, progress: Progress | None
) -> Tensor:
    """Decode files in threads, in their order; (count, 3, size, size) uint8."""
    pixels = torch.empty((count, 3, size, size), dtype=torch.uint8)
    numbers, waiting = iter(range(count)), iter(files)
    # Pillow decodes without Python's lock, so that threads are enough.
    with ThreadPoolExecutor() as pool:
        done = 0
        while batch := [file for _, file in zip(range(AHEAD), waiting, strict=False)]:
            for image in pool.map(lambda file: square(file[0], file[1], size), batch):
                pixels[next(numbers)] = torch.from_numpy(image.copy())
            done += len(batch)
            if progress:
                progress(done, count)
    return pixels


AUGMENTATION = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
    ]
)
"""Classic augmentation of both arms, after the crop and the quarter turns of `Draws`."""

CROP = (0.7, 1.0)
"""Least and largest share of the image's area that a crop takes."""


class Draws(Dataset[dict[str, Any]]):
    """Training images by (draw, place), augmented: {"pixels": (3, S, S) uint8, "label"}."""

    def __init__(self, images: Images, seed: int) -> None:
        self.images, self.seed = images, seed
        side = images.pixels.shape[-1]
        self.crop = v2.RandomResizedCrop(side, scale=CROP, ratio=(0.9, 1.1), antialias=True)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: tuple[int, int]) -> dict[str, Any]:
        number, place = draw
        # torchvision draws from torch's global generator, which the network's dropout uses too.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(self.seed, number))
            turned = torch.rot90(self.images.pixels[place], int(torch.randint(4, ())), (-2, -1))
            pixels = AUGMENTATION(self.crop(turned))
        return {"pixels": pixels, "label": int(self.images.labels[place])}


def draws(
    labels: NDArray[np.int64], *, batch_size: int, steps: int, seed: int, oversampled: bool = False
) -> Iterator[list[tuple[int, int]]]:
    """Batches of (draw, place) for `Draws`: epoch after epoch, each a seeded permutation.

    labels: (N,). oversampled: an epoch has every class as often as the largest, its images
    repeated whole times and a random part of them once more.
    """
    queue: list[int] = []
    epoch = 0
    for step in range(steps):
        while len(queue) < batch_size:
            rng = np.random.default_rng([seed, epoch])
            queue += rng.permutation(_epoch(labels, rng, oversampled)).tolist()
            epoch += 1
        batch, queue = queue[:batch_size], queue[batch_size:]
        yield [(step * batch_size + number, place) for number, place in enumerate(batch)]


def loader(
    images: Images,
    *,
    batch_size: int,
    steps: int,
    seed: int,
    oversampled: bool = False,
    workers: int = 0,
) -> DataLoader[dict[str, Any]]:
    """Batches of augmented images, one a step; the same with any number of worker processes."""
    batches = draws(
        images.labels, batch_size=batch_size, steps=steps, seed=seed, oversampled=oversampled
    )
    return DataLoader(
        Draws(images, seed),
        batch_sampler=list(batches),
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def _epoch(
    labels: NDArray[np.int64], rng: np.random.Generator, oversampled: bool
) -> NDArray[np.int64]:
    """The places of one epoch, unordered."""
    if not oversampled:
        return np.arange(len(labels))
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    largest = max(len(group) for group in groups)
    parts = []
    for group in groups:
        whole, rest = divmod(largest, len(group))
        parts += [np.tile(group, whole), rng.choice(group, rest, replace=False)]
    return np.concatenate(parts)


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def counts(images: Images, classes: Sequence[str]) -> Mapping[str, int]:
    """How many images each class has."""
    found = np.bincount(images.labels, minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, found, strict=True)}
