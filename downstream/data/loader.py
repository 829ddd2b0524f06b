"""The loader: seeded draws of training images, with their augmentation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from didgen.downstream.data.images import Pictures
from didgen.downstream.data.samplers import ALONE, Draw, Mixing, Sampler, draws

P = TypeVar("P", bound=Pictures)

FLIPS = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()])

COLOURS = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
"""With quarter turns and a crop before them, the classic augmentation of all arms."""

CROP = (0.7, 1.0)
"""Least and largest share of the image's area that a crop takes."""


@dataclass(frozen=True)
class TrainingSet(Generic[P]):
    """What a training draws from, and how.

    weights: of each image in the loss, (N,); None where all count the same. real: how many of the
    images are real; these stand first.
    """

    images: P
    sampler: Sampler
    real: int
    mixing: Mixing | None = None
    weights: NDArray[np.float32] | None = None


class Draws(Dataset[dict[str, Any]]):
    """Training images by their draw, augmented: {"pixels": (3, S, S) uint8, ...}."""

    def __init__(
        self,
        images: Pictures,
        seed: int,
        mixing: Mixing | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        self.images, self.seed, self.mixing, self.weights = images, seed, mixing, weights
        side = images.pixels.shape[-1]
        self.crop = v2.RandomResizedCrop(side, scale=CROP, ratio=(0.9, 1.1), antialias=True)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: tuple[int, int] | Draw) -> dict[str, Any]:
        number, place, other, share = Draw(*draw)
        sample = self._augmented(place, number)
        if self.mixing is not None:
            if other == ALONE:
                sample = self.mixing.mix(sample, sample, 0.0)
            else:
                own = (number,) if self.mixing.aligned else (number, 1)
                sample = self.mixing.mix(sample, self._augmented(other, *own), share)
        if self.weights is not None:
            sample["weight"] = torch.tensor(self.weights[place])
        return sample

    def _augmented(self, place: int, *numbers: int) -> dict[str, Any]:
        """The sample of an image, moved and coloured as these numbers say."""
        # torchvision draws from torch's global generator, which the network's dropout uses too.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(self.seed, *numbers))
            turned = torch.rot90(self.images.planes(place), int(torch.randint(4, ())), (-2, -1))
            moved = FLIPS(self.crop(turned))
            return self.images.sample(place, COLOURS(moved[:3]), moved[3:])


@dataclass(frozen=True)
class Batches:
    """The batches of a whole training, which may be begun anywhere: `loaded(step)` skips those
    before. The same with any number of worker processes."""

    training: TrainingSet[Any]
    batch_size: int
    steps: int
    seed: int
    workers: int = 0

    def loaded(self, done: int = 0) -> DataLoader[dict[str, Any]]:
        """Batches of augmented images, one a step, without the first `done`."""
        given = self.training
        return DataLoader(
            Draws(given.images, self.seed, given.mixing, given.weights),
            batch_sampler=list(self._draws())[done:],
            num_workers=self.workers,
            multiprocessing_context="forkserver" if self.workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def _draws(self) -> Iterator[list[Draw]]:
        return draws(
            self.training.sampler,
            self.training.mixing,
            batch_size=self.batch_size,
            steps=self.steps,
            seed=self.seed,
        )


def mixed_pixels(own: Tensor, other: Tensor, share: float | Tensor) -> Tensor:
    """8-bit pixels of which `share` comes from the other image: a number, or one for each pixel."""
    return (own * (1 - share) + other * share).round().clamp(0, 255).to(torch.uint8)


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
