"""Guided diffusion: DiDGen's own generator, a Stable Diffusion model with P-Tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from didgen.augment.device import Device
from didgen.augment.diffusion.autoencoder import encode
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.noise import TrySeed
from didgen.augment.diffusion.pipeline import LesionPairPipeline, LesionPairs, draw
from didgen.augment.methods.generator import Drawing, Planned
from didgen.augment.methods.starts import Starts
from didgen.augment.variety.start import Start
from didgen.augment.variety.variety import Variety, WeakerModel
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.sampling import Sampling
from didgen.manifests.sources.records import SourceManifest
from didgen.manifests.views.attention_maps import AttentionHistory, moments, stretched


@dataclass(frozen=True)
class GuidedDiffusion:
    """DiDGen: a Stable Diffusion model guided by Eq. 6, whose masks are those of Eq. 7.

    starts, strength: where the recipe asks for variations.
    """

    pipeline: LesionPairPipeline
    sampling: Sampling
    weaker: WeakerModel | None = None
    starts: Starts | None = None
    strength: float = 1.0

    def to(self, device: Device) -> None:
        """Bring the model to a device and its number format, compiled where the recipe says so.

        The weights are rounded once: autocast over float32 would do it again in every pass.
        """
        self.pipeline.to(device.name, device.dtype)
        if self.weaker is not None:
            self.weaker.to(device.name, device.dtype)
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
        besides = {
            "variety": Variety.of(self.sampling, self.weaker),
            "start": self._start([one.start for one in planned]),
            "watched": watched,
        }
        pairs = draw(self.pipeline, prompts, seeds, self.sampling, guides, **besides)
        masks = None if pairs.masks is None else np.asarray(pairs.masks)
        history = tuple(self._history(pairs, place) for place in range(watched))
        return Drawing(np.asarray(pairs.images), masks, _scores(pairs), history)

    @torch.no_grad()
    def _start(self, names: Sequence[str]) -> Start | None:
        """The latents of the real images that a batch varies, if any."""
        if self.starts is None:
            return None
        vae = self.pipeline.vae
        pixels = self.starts.pixels(names).to(vae.device, vae.dtype)
        return Start(encode(vae, pixels).float(), self.strength)

    def _history(self, pairs: LesionPairs, place: int) -> AttentionHistory:
        """How the map of a watched pair grew."""
        assert pairs.history is not None and pairs.attention is not None
        count = self.pipeline.num_timesteps
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
    """Load a recipe's Stable Diffusion model, and the weaker one and the images to vary, if any.

    Raises DidgenError for a model that cannot be loaded.
    """
    pipeline = load_pipeline(recipe.model, recipe.revision)
    return GuidedDiffusion(pipeline, recipe.sampling, _weaker(recipe), *_varied(recipe, pipeline))


def _weaker(recipe: AugmentRecipe) -> WeakerModel | None:
    """Load the weaker model that a recipe names, if any."""
    folder = recipe.sampling.autoguidance
    if folder is None:
        return None
    other = load_pipeline(str(folder))
    return WeakerModel(other.unet, other.text_encoder)


def _varied(recipe: AugmentRecipe, pipeline: LesionPairPipeline) -> tuple[Starts | None, float]:
    """The images that a recipe varies, and by how much; (None, 1) where it varies none."""
    if recipe.variations is None or recipe.source is None:
        return None, 1.0
    starts = Starts(pipeline.image_size, SourceManifest.read(recipe.source))
    return starts, recipe.variations.strength
