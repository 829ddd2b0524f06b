"""The training data: images, masks and prompts with all randomness drawn here, from the record.

Notable choices:
- Sample number g of a run (counted over all epochs and processes) draws everything random from
  `[seed, g]`: order, orientation, prompt dropout, timestep, noise. So a resumed run sees exactly
  the data of an uninterrupted one, and n processes see what one sees with a batch n times as large.
- A training step is then a pure function of its batch.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from didgen.augment.diffusion.images import load_mask, load_pixels
from didgen.augment.finetuning.latent_cache import Cache
from didgen.augment.finetuning.latents import posterior_noise
from didgen.augment.finetuning.prior import PriorImages
from didgen.augment.finetuning.training_images import words_of
from didgen.augment.prompts.places import places_in, turned
from didgen.augment.prompts.prompt import compose
from didgen.augment.prompts.sentence import free_reasons, thin
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.sources.records import SourceManifest, SourceRecord

ORIENTATIONS = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "dihedral": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}
"""Orientations by name: quarter turns, and whether mirrored; the first one leaves all as it is."""


def orient(image: Tensor, turns: int, mirrored: bool) -> Tensor:
    """Turn (..., H, W) by quarters, then mirror it."""
    turned = torch.rot90(image, turns, (-2, -1))
    return turned.flip(-1) if mirrored else turned


class ImageDataset(Dataset[dict[str, Any]]):
    """Random crops in random orientation, {"pixels": (3, crop, crop) in [-1, 1]}."""

    def __init__(
        self,
        manifest: SourceManifest,
        records: list[SourceRecord],
        size: int,
        crop: int,
        orientations: str,
        seed: int,
    ) -> None:
        self.manifest, self.records, self.seed = manifest, records, seed
        self.size, self.crop = size, min(crop, size)
        self.orientations = ORIENTATIONS[orientations]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: tuple[int, int]) -> dict[str, Any]:
        number, index = draw
        rng = np.random.default_rng([self.seed, number])
        pixels = load_pixels(self.manifest, self.records[index], self.size)
        top, left = rng.integers(0, self.size - self.crop + 1, 2)
        pixels = pixels[:, top : top + self.crop, left : left + self.crop]
        turns, mirrored = self.orientations[rng.integers(len(self.orientations))]
        return {"pixels": orient(pixels, turns, mirrored).contiguous()}


class RegionDataset(Dataset[dict[str, Any]]):
    """Whole images with masks and prompts, and the noise and timestep of one training step.

    An item: pixels (3, S, S) in [-1, 1]; mask (1, S/8, S/8) in [0, 1], the lesion's share of each
    latent's area; prompt; timestep; noise (4, S/8, S/8). The prefix always stands in the prompt.
    The recipe's words, a caption or the name of a class, follow it with `caption_probability`; a
    caption that is kept is thinned with `caption_thinning`. The whole prompt becomes empty with
    `prompt_dropout`, for classifier-free guidance, and `prompted` says whether it was kept. With a
    cache, `latents` (4, S/8, S/8) stand for the pixels, and `context` (T, C) stands by the prompt
    where the cache holds texts. Where latents are drawn from a posterior, there is also its
    `posterior_noise`, and its `deviation` beside cached latents, both (4, S/8, S/8). Samples before
    number `half_samples` have half the side, S/2. With `prior`, what it has of the sample comes
    along; with `layouts`, also the mask in the image's size, `layout` (1, S, S).
    """

    def __init__(
        self,
        manifest: SourceManifest,
        records: list[SourceRecord],
        recipe: FinetuneRecipe,
        timesteps: int,
        half_samples: int = 0,
    ) -> None:
        self.manifest, self.records = manifest, records
        self.size, self.seed = recipe.image_size, recipe.seed
        self.orientations = ORIENTATIONS[recipe.orientations]
        self.captions = [words_of(recipe, record) for record in records]
        self.caption_probability = recipe.caption_probability
        self.caption_thinning = recipe.caption_thinning
        self.prompt_dropout = recipe.prompt_dropout
        self.timesteps, self.half_samples = timesteps, half_samples
        self.posterior = recipe.posterior
        self.cache: Cache | None = None
        self.prior: PriorImages | None = None
        self.layouts = False

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: tuple[int, int]) -> dict[str, Any]:
        number, index = draw
        rng = np.random.default_rng([self.seed, number])
        place = int(rng.integers(len(self.orientations)))
        orientation = self.orientations[place]
        captioned = rng.random() < self.caption_probability
        prompted = rng.random() >= self.prompt_dropout
        size = self.size // 2 if number < self.half_samples else self.size
        side = size // 8
        item: dict[str, Any] = {
            "prompted": prompted,
            "timestep": int(rng.integers(self.timesteps)),
            "noise": torch.from_numpy(rng.standard_normal((4, side, side), dtype=np.float32)),
        }
        if self.posterior == "sample":
            item["posterior_noise"] = posterior_noise(self.seed, number, side)
        if self.prior is not None:
            item |= self.prior.item(self.seed, number, self.timesteps)
        caption = self.captions[index] if captioned else None
        if caption and self.caption_thinning and rng.random() < self.caption_thinning:
            caption = thin(caption, rng)
        item["prompt"] = ""
        if prompted:
            words = _turned(caption, orientation)
            if words is None:
                place, orientation, words = 0, self.orientations[0], caption
            item["prompt"] = compose(words)
        if self.cache is None:
            pixels = load_pixels(self.manifest, self.records[index], size)
            item["pixels"] = orient(pixels, *orientation).contiguous()
            mask = F.adaptive_avg_pool2d(self.mask(index), side)
        else:
            item |= self.cache.item(index, place, item["prompt"])
            mask = item["mask"]
        if self.layouts:
            layout = load_mask(self.manifest, self.records[index], size)
            item["layout"] = orient(layout, *orientation).contiguous()
        return item | {"mask": orient(mask, *orientation).contiguous()}

    def mask(self, index: int) -> Tensor:
        """The mask of a record as it was taken, reduced by area to the latents, (1, S/8, S/8)."""
        return F.adaptive_avg_pool2d(
            load_mask(self.manifest, self.records[index], self.size), self.size // 8
        )

    def views(self, index: int) -> Tensor:
        """The image of a record in every orientation O, (O, 3, S, S) in [-1, 1]."""
        pixels = load_pixels(self.manifest, self.records[index], self.size)
        return torch.stack([orient(pixels, *orientation) for orientation in self.orientations])

    def prompts(self) -> list[str]:
        """Every prompt that can be drawn, each once."""
        captioned = [
            kept
            for kept, probability in (
                (True, self.caption_probability),
                (False, 1 - self.caption_probability),
            )
            if probability > 0
        ]
        shown = (
            (caption if kept else None, orientation)
            for caption in self.captions
            for orientation in self.orientations
            for kept in captioned
        )
        # A caption that cannot be turned is shown as it is, with its image as it is.
        drawn = {compose(_turned(*show) or show[0]): None for show in shown}
        return [*drawn, ""] if self.prompt_dropout > 0 else [*drawn]


def _turned(caption: str | None, orientation: tuple[int, bool]) -> str | None:
    """The caption of an image in an orientation; None where its image may not have it.

    No caption denies no orientation: then it is empty.
    """
    return turned(caption, *orientation) if caption else ""


TURNING_FORMAT = 1
"""Changed with whatever turns free captions in another way."""


def free_captions(recipe: FinetuneRecipe, records: Sequence[SourceRecord]) -> dict[str, str]:
    """What a training does with captions that are free sentences, in words; empty without one."""
    captions = [words for record in records if (words := words_of(recipe, record))]
    if recipe.prompt != "caption" or not (reasons := free_reasons(captions)):
        return {}
    orientations = ORIENTATIONS[recipe.orientations]
    free = [caption for caption in captions if caption in reasons]
    fixed = {c for c in reasons if any(turned(c, *o) is None for o in orientations)}
    placed = {c for c in reasons if any(True for _ in places_in(c))} - fixed
    counts = Counter(reasons[caption] for caption in free)
    told = "; ".join(f"{count} have {reason}" for reason, count in sorted(counts.items()))
    return {
        "captions": f"{len(free)} of {len(captions)} are free sentences, because {told}",
        "orientations": f"of {len(free)} free captions, {sum(c in placed for c in free)} name "
        f"places that are turned with their images, and {sum(c in fixed for c in free)} name one "
        "that cannot be turned, so that their images are not",
    }


def class_weights(records: Sequence[SourceRecord], balance: float) -> NDArray[np.float64]:
    """How often each record is drawn, (N,), 1 on average: a class of n images as n^-balance each.

    balance: 0 draws all images alike, 1 all classes alike. Those without a label count as a class.
    """
    sizes = Counter(record.label for record in records)
    weights = np.array([float(sizes[record.label]) ** -balance for record in records])
    return weights * (len(weights) / weights.sum())


def draws(
    weights: NDArray[np.float64],
    batch_size: int,
    steps: range,
    seed: int,
    rank: int,
    world: int,
) -> Iterator[list[tuple[int, int]]]:
    """Batches of (sample number, record index) of one process, for each of the steps.

    weights: (N,), 1 on average. An epoch is N draws in a seeded order, of which a record of
    weight w has w, rounded up or down by chance: each exactly one where all weigh alike. The
    processes' batches lie side by side in the run's global batch.
    """
    epochs: dict[int, NDArray[np.int64]] = {}
    for step in steps:
        first = (step * world + rank) * batch_size
        batch = []
        for number in range(first, first + batch_size):
            epoch, place = divmod(number, len(weights))
            if epoch not in epochs:
                # A batch touches two epochs at most where it is shorter than an epoch.
                epochs = {e: order for e, order in epochs.items() if e == epoch - 1}
                epochs[epoch] = _epoch(weights, np.random.default_rng([seed, epoch]))
            batch.append((number, int(epochs[epoch][place])))
        yield batch


def _epoch(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Record indices of one epoch in their order: a systematic sample by the weights."""
    order = rng.permutation(len(weights))
    # A comb of unit teeth over the weights laid end to end, its start drawn.
    teeth = np.arange(len(weights)) + rng.random()
    drawn = np.searchsorted(np.cumsum(weights), teeth, side="right")
    # The weights' sum may fall short of their number by rounding.
    return drawn.clip(max=len(weights) - 1)[order]
