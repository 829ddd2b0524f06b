"""Images for the benchmarks: real ones from a source, synthetic ones from shards, in memory.

Notable choices:
- An image is decoded once, brought to its central square at the recipe's size, and kept as 8-bit
  pixels: trainings repeat over many seeds and arms, and decoding would be most of their time.
- Draw number g of a training takes its randomness from `[seed, g]`, however it is loaded.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from webdataset.tariterators import group_by_keys, tar_file_expander

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import decode, read_file, upright
from didgen.manifests.progress import Progress
from didgen.manifests.runs.training_samples import SyntheticSample
from didgen.manifests.sources.records import SourceManifest, SourceRecord

T = TypeVar("T")

U = TypeVar("U")

AHEAD = 64
"""Images decoded at a time: bounds what waits in memory as encoded bytes."""


@dataclass(frozen=True)
class Pictures:
    """Images in memory, and what is known of each: every field has N entries.

    pixels: (N, 3, S, S) uint8. keys and units: N each; a unit is what tests and intervals count,
    the patient where known, else the lesion. A synthetic image is a unit of its own.
    """

    keys: tuple[str, ...]
    units: tuple[str, ...]
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, places: Sequence[int]) -> Self:
        """The images at these places."""
        return type(self)(*(_taken(part, list(places)) for part in self._parts()))

    def __add__(self, other: Self) -> Self:
        both = zip(self._parts(), other._parts(), strict=True)
        return type(self)(*(_joined(one, two) for one, two in both))

    def _parts(self) -> list[Any]:
        return [getattr(self, part.name) for part in fields(self)]

    def planes(self, place: int) -> Tensor:
        """What moves as one when an image is augmented: (C, S, S) uint8, its pixels first."""
        return self.pixels[place]

    def sample(self, place: int, pixels: Tensor, further: Tensor) -> dict[str, Any]:
        """What a network trains on: augmented pixels (3, S, S), and what they should give.

        further: (C - 3, S, S), the moved planes behind the pixels.
        """
        raise NotImplementedError


def _taken(part: Any, places: list[int]) -> Any:
    return tuple(part[place] for place in places) if isinstance(part, tuple) else part[places]


def _joined(one: Any, two: Any) -> Any:
    if isinstance(one, Tensor):
        return torch.cat([one, two])
    return np.concatenate([one, two]) if isinstance(one, np.ndarray) else one + two


@dataclass(frozen=True)
class Images(Pictures):
    """Labelled images in memory; labels: (N,) indices of classes."""

    labels: NDArray[np.int64]

    def sample(self, place: int, pixels: Tensor, further: Tensor) -> dict[str, Any]:
        return {"pixels": pixels, "label": int(self.labels[place])}


def load_real(
    source: SourceManifest,
    records: Sequence[SourceRecord],
    classes: Sequence[str],
    size: int,
    progress: Progress | None = None,
) -> Images:
    """The images of records with a label; one that is not as it was imported is a `DidgenError`."""
    return Images(
        tuple(record.key for record in records),
        tuple(record.unit for record in records),
        _squares(real_files(source, records), len(records), size, progress),
        np.array([classes.index(record.label or "") for record in records], np.int64),
    )


def real_files(
    source: SourceManifest, records: Iterable[SourceRecord]
) -> Iterator[tuple[bytes, Path]]:
    """The image file of each record, and where it lies; raises what `image_file` raises."""
    for record in records:
        yield image_file(source, record), source.image_path(record)


def image_file(source: SourceManifest, record: SourceRecord) -> bytes:
    """The file of a record's image; one that is not as it was imported is a `DidgenError`."""
    path = source.image_path(record)
    data = read_file(path)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise DidgenError(f"{path} has changed since it was imported; import it again.")
    return data


def load_synthetic(
    run: Path,
    taken: Sequence[SyntheticSample],
    classes: Sequence[str],
    run_classes: Sequence[str],
    size: int,
    progress: Progress | None = None,
) -> Images:
    """The images of a run by webdataset, those in `taken` only, in the order of the run.

    Raises what `synthetic_images` raises.
    """
    files = synthetic_images(run, "images", taken, run_classes)
    pixels = _squares(files, len(taken), size, progress)
    names = tuple(f"synthetic-{one.key}" for one in taken)
    labels = np.array([classes.index(one.label) for one in taken], np.int64)
    return Images(names, names, pixels, labels)


def synthetic_images(
    run: Path, config: Config, taken: Sequence[SyntheticSample], run_classes: Sequence[str]
) -> Iterator[tuple[bytes, Path]]:
    """The image of each sample in `taken`, and where it lies, in the order of the run.

    `run_classes` are what the run's class indices stand for. A sample that is not there, or whose
    class index is not what its sidecar says, is a `DidgenError`.
    """
    for one, place, members in synthetic_files(run, config, taken):
        index = members.get("cls", b"").decode(errors="replace")
        made_as = one.made_as or one.label
        # Pairs of unlabelled images have no class.
        classed = config == "images" or "cls" in members
        fits = index.isdecimal() and run_classes[int(index) : int(index) + 1] == [made_as]
        if classed and not fits:
            raise DidgenError(
                f"{place}.cls says the class {index or 'none'}, and the sidecar {made_as}; "
                f"run `didgen verify {run}`, and make the run again."
            )
        yield members.get("jpg", b""), Path(f"{place}.jpg")


def synthetic_files(
    run: Path, config: Config, taken: Sequence[SyntheticSample]
) -> Iterator[tuple[SyntheticSample, Path, dict[str, Any]]]:
    """The samples `taken` by webdataset in their order: where each lies, without an ending, and
    its members by theirs. One that is not there is a `DidgenError`.
    """
    wanted = {one.key: one for one in taken}
    found = set()
    for name in dict.fromkeys(one.shard for one in taken):
        for sample in _samples(run / config / name):
            key = sample["__key__"]
            if key in wanted:
                found.add(key)
                yield wanted[key], Path(sample["__url__"]) / key, sample
    if missing := wanted.keys() - found:
        raise DidgenError(
            f"{run} does not hold the sample {min(missing)} that a sidecar lists; "
            f"run `didgen verify {run}`."
        )


def _samples(shard: Path) -> Iterator[dict[str, Any]]:
    """The samples of a tar by webdataset, which of itself leaves the file open."""
    with shard.open("rb") as stream:
        yield from group_by_keys(tar_file_expander([{"url": str(shard), "stream": stream}]))


def square(
    data: bytes, path: Path, size: int, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> NDArray[np.uint8]:
    """Decode an image, bring its short side to `size` and cut its middle; (3, size, size)."""
    return fitted(upright(decode(data, path)), size, resample)


def fitted(
    image: Image.Image, size: int, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> NDArray[np.uint8]:
    """The central square of an upright image, scaled; (3, size, size).

    Pillow widens the filter where it scales down, so that nothing aliases.
    """
    cut = ImageOps.fit(image.convert("RGB"), (size, size), resample)
    return np.asarray(cut).transpose(2, 0, 1)


def squares(
    files: Iterable[tuple[bytes, Path]],
    size: int,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> Iterator[NDArray[np.uint8]]:
    """Decode files, in their order; each (3, size, size)."""
    return in_threads(lambda file: square(file[0], file[1], size, resample), files)


def _squares(
    files: Iterable[tuple[bytes, Path]], count: int, size: int, progress: Progress | None
) -> Tensor:
    """The squares of files in one piece; (count, 3, size, size) uint8."""
    pixels = torch.empty((count, 3, size, size), dtype=torch.uint8)
    for place, image in enumerate(squares(files, size)):
        pixels[place] = torch.from_numpy(image.copy())
        if progress:
            progress(place + 1, count)
    return pixels


def in_threads(work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """What `work` makes of each item, in their order, `AHEAD` at a time."""
    waiting = iter(items)
    # Pillow decodes without Python's lock, so that threads are enough.
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(waiting, AHEAD)):
            yield from pool.map(work, batch)


def counts(images: Images, classes: Sequence[str]) -> Mapping[str, int]:
    """How many images each class has."""
    found = np.bincount(images.labels, minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, found, strict=True)}
