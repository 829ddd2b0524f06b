"""The loader: seeded draws of training images, with their augmentation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from didgen.downstream.data.images import Images, Pictures

FLIPS = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()])

COLOURS = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
"""With quarter turns and a crop before them, the classic augmentation of all arms."""

CROP = (0.7, 1.0)
"""Least and largest share of the image's area that a crop takes."""


class Draws(Dataset[dict[str, Any]]):
    """Training images by (draw, place), augmented: {"pixels": (3, S, S) uint8, ...}."""

    def __init__(self, images: Pictures, seed: int) -> None:
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
            turned = torch.rot90(self.images.planes(place), int(torch.randint(4, ())), (-2, -1))
            moved = FLIPS(self.crop(turned))
            return self.images.sample(place, COLOURS(moved[:3]), moved[3:])


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
    images: Pictures,
    *,
    batch_size: int,
    steps: int,
    seed: int,
    oversampled: bool = False,
    workers: int = 0,
) -> DataLoader[dict[str, Any]]:
    """Batches of augmented images, one a step; the same with any number of worker processes.

    oversampled: by their labels, which only `Images` have.
    """
    labels = images.labels if isinstance(images, Images) else np.zeros(len(images), np.int64)
    batches = draws(labels, batch_size=batch_size, steps=steps, seed=seed, oversampled=oversampled)
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
