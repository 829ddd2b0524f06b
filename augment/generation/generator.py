"""The generator: the one interface through which the factory asks for samples.

Plan, gates, shards, provenance and the cluster know nothing of the method behind it. DiDGen's own
is `GuidedDiffusion`; another method is another class with these two functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from didgen.augment.device import Device
from didgen.augment.diffusion.noise import TrySeed
from didgen.augment.diffusion.pipeline import LesionPairPipeline, LesionPairs, draw
from didgen.augment.generation.plan import Planned
from didgen.manifests.recipes.sampling import Sampling
from didgen.manifests.views.attention_maps import AttentionHistory, moments, stretched


@dataclass(frozen=True)
class Drawing:
    """A batch as it was drawn.

    images: (B, H, W, 3) uint8; masks: (B, H, W) boolean, None for images without; scores: what the
    method itself measured of each sample, for its record and the gates, empty where that is
    nothing; attention: that of the first samples, as many as were asked for, empty where a method
    has none.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_] | None = None
    scores: tuple[Mapping[str, float], ...] = ()
    attention: tuple[AttentionHistory, ...] = ()


class Generator(Protocol):
    """What draws samples: a loaded model with all that its recipe says of the drawing."""

    def to(self, device: Device) -> None:
        """Bring the model to a device."""

    def draw(
        self,
        planned: Sequence[Planned],
        seeds: Sequence[TrySeed],
        layouts: NDArray[np.bool_] | None,
        device: Device,
        watched: int = 0,
    ) -> Drawing:
        """Draw the planned samples of one batch, each from its own seed.

        seeds: (planned seed, number of the try) of each sample; a seed alone is its first try, 0.
        layouts: (B, H, H) for pairs, None for images. watched: of how many samples, the first of
        the batch, the attention is kept. The same samples and seeds give the same bits on a CPU.
        """


@dataclass(frozen=True)
class GuidedDiffusion:
    """DiDGen: a Stable Diffusion model guided by Eq. 6, whose masks are those of Eq. 7."""

    pipeline: LesionPairPipeline
    sampling: Sampling

    def to(self, device: Device) -> None:
        """Bring the model to a device and its number format, compiled where the recipe says so.

        The weights are rounded once: autocast over float32 would do it again in every pass.
        """
        self.pipeline.to(device.name, device.dtype)
        if self.sampling.compile:
            self.pipeline.unet.compile()

    def draw(
        self,
        planned: Sequence[Planned],
        seeds: Sequence[TrySeed],
        layouts: NDArray[np.bool_] | None,
        device: Device,
        watched: int = 0,
    ) -> Drawing:
        """Draw a batch: images by prompt alone, or pairs by prompt and layout."""
        guides = None if layouts is None else torch.from_numpy(layouts)[:, None].float()
        prompts = [one.prompt for one in planned]
        pairs = draw(self.pipeline, prompts, seeds, self.sampling, guides, watched)
        masks = None if pairs.masks is None else np.asarray(pairs.masks)
        history = tuple(self._history(pairs, place) for place in range(watched))
        return Drawing(np.asarray(pairs.images), masks, _scores(pairs), history)

    def _history(self, pairs: LesionPairs, place: int) -> AttentionHistory:
        """How the map of a watched pair grew."""
        assert pairs.history is not None and pairs.attention is not None
        count = len(self.pipeline.scheduler.timesteps)
        return AttentionHistory(
            tuple(step + 1 for step in moments(count)),
            count,
            stretched(pairs.history[place]),
            stretched(pairs.attention[place]),
        )


def _scores(pairs: LesionPairs) -> tuple[dict[str, float], ...]:
    """How clearly the map of each pair's mask parts, as it is recorded; nothing for images."""
    if pairs.contrast is None or pairs.separability is None:
        return ()
    return tuple(
        {"attention_contrast": round(float(span), 6), "separability": round(float(apart), 4)}
        for span, apart in zip(pairs.contrast, pairs.separability, strict=True)
    )
