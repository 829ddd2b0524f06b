"""Guided diffusion: DiDGen's own generator, a Stable Diffusion model with P-Tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from didgen.augment.device import Device
from didgen.augment.diffusion.attention import layers_at
from didgen.augment.diffusion.autoencoder import encode
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.noise import TrySeed
from didgen.augment.diffusion.pipeline import LesionPairPipeline, LesionPairs, draw
from didgen.augment.diffusion.schedulers import check_timestep, scheduler_of
from didgen.augment.methods.generator import Drawing, Opened, Planned
from didgen.augment.methods.starts import Starts
from didgen.augment.prompts.prompt import P_TOKENS
from didgen.augment.variety.start import Start
from didgen.augment.variety.variety import Variety, WeakerModel
from didgen.manifests.errors import DidgenError
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


def open_diffusion(recipe: AugmentRecipe) -> Opened:
    """Open a recipe's Stable Diffusion model as a generator.

    Raises DidgenError as `open_pipeline`, and for maps that the model does not have.
    """
    pipeline = open_pipeline(recipe)
    for kind in ("attn2", "attn1") if recipe.pairs else ():
        layers_at(pipeline.unet, kind, recipe.sampling.maps, pipeline.unet.config.sample_size)
    weaker, varied = _weaker(recipe, pipeline), _varied(recipe, pipeline)
    return Opened(
        GuidedDiffusion(pipeline, recipe.sampling, weaker, *varied),
        pipeline.image_size,
        lambda text: len(pipeline.tokenizer(text).input_ids),
        varies=True,
        decided=sampling_decided(recipe.sampling),
    )


def open_pipeline(recipe: AugmentRecipe) -> LesionPairPipeline:
    """Load a recipe's Stable Diffusion model with its P-Tokens.

    Raises DidgenError for a model that cannot be loaded, one without P-Tokens, and a sampling that
    it cannot do.
    """
    pipeline = load_pipeline(recipe.model, recipe.revision)
    known = pipeline.tokenizer.get_vocab()
    if missing := [token for token in P_TOKENS if token not in known]:
        raise DidgenError(
            f"The model {recipe.model} does not know {' and '.join(missing)}; "
            "run `didgen finetune` on it first."
        )
    _check_sampling(recipe, pipeline)
    return pipeline


def _weaker(recipe: AugmentRecipe, pipeline: LesionPairPipeline) -> WeakerModel | None:
    """Load the weaker model that a recipe names, if any; DidgenError for one of another kind."""
    folder = recipe.sampling.autoguidance
    if folder is None:
        return None
    other = load_pipeline(str(folder))
    if recipe.sampling.cfg == 1:
        raise DidgenError(
            "`sampling.autoguidance` is asked for and `sampling.cfg` is 1, which leads nowhere; "
            "raise it."
        )
    alike = (
        ("vocabulary", pipeline.tokenizer.get_vocab(), other.tokenizer.get_vocab()),
        ("size", pipeline.image_size, other.image_size),
        (
            "kind of prediction",
            pipeline.scheduler.config.get("prediction_type"),
            other.scheduler.config.get("prediction_type"),
        ),
    )
    for name, own, its in alike:
        if own != its:
            raise DidgenError(
                f"`sampling.autoguidance` is {folder}, whose {name} is not that of {recipe.model}; "
                "give an earlier checkpoint of the same training."
            )
    return WeakerModel(other.unet, other.text_encoder)


def _varied(recipe: AugmentRecipe, pipeline: LesionPairPipeline) -> tuple[Starts | None, float]:
    """The images that a recipe varies, and by how much; (None, 1) where it varies none."""
    if recipe.variations is None or recipe.source is None:
        return None, 1.0
    starts = Starts(pipeline.image_size, SourceManifest.read(recipe.source))
    return starts, recipe.variations.strength


def sampling_decided(sampling: Sampling) -> dict[str, str]:
    """What a run records of how a diffusion model is sampled."""
    return {
        "sampling": f"{sampling.scheduler}, {sampling.steps} steps, guidance {sampling.cfg}, "
        f"batches of {sampling.batch_size}, because the recipe says so"
    }


def _check_sampling(recipe: AugmentRecipe, pipeline: LesionPairPipeline) -> None:
    """Raise DidgenError for a sampling that the model cannot do, before there is a folder of it."""
    sampling = recipe.sampling
    scheduler = scheduler_of(pipeline, sampling.scheduler)
    check_timestep(scheduler, sampling.annotation)
    trained = scheduler.config.num_train_timesteps
    if sampling.steps > trained:
        raise DidgenError(
            f"`sampling.steps` is {sampling.steps}, but the model {recipe.model} knows {trained} "
            "timesteps; lower it."
        )
