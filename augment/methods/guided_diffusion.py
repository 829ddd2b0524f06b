"""Guided diffusion: DiDGen's own generator, a Stable Diffusion model with P-Tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from didgen.augment.device import Device
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.noise import TrySeed
from didgen.augment.diffusion.pipeline import LesionPairPipeline, LesionPairs, draw
from didgen.augment.methods.generator import Drawing, Planned
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.sampling import Sampling
from didgen.manifests.views.attention_maps import AttentionHistory, moments, stretched


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


def load_diffusion(recipe: AugmentRecipe) -> GuidedDiffusion:
    """Load a recipe's Stable Diffusion model with its P-Tokens.

    Raises DidgenError for a model that cannot be loaded.
    """
    return GuidedDiffusion(load_pipeline(recipe.model, recipe.revision), recipe.sampling)
