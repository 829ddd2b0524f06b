"""Kinds: the sampler over Stable Diffusion 1 and 2 and the one over SDXL, and diffusers' own."""

from typing import Any

from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from didgen.augment.conditioning.texts import LATENT_SCALE
from didgen.augment.diffusion.pipeline import LesionPairPipeline

UNUSED: dict[str, Any] = {"requires_safety_checker": False}


class LesionPairXLPipeline(LesionPairPipeline):
    """DiDGen's sampler over SDXL: two text encoders, and no safety checker to leave out."""

    model_cpu_offload_seq = "text_encoder->text_encoder_2->unet->vae"
    _optional_components = ()

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Any,
        force_zeros_for_empty_prompt: bool = True,
    ) -> None:
        DiffusionPipeline.__init__(self)
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=unet,
            scheduler=scheduler,
        )
        self.register_to_config(force_zeros_for_empty_prompt=force_zeros_for_empty_prompt)
        self.vae_scale_factor = LATENT_SCALE


def is_xl(pipeline: DiffusionPipeline) -> bool:
    """Whether a pipeline's UNet is conditioned on the texts of two encoders."""
    return "text_encoder_2" in pipeline.components


def sampler_of(pipeline: DiffusionPipeline) -> LesionPairPipeline:
    """DiDGen's sampler over the parts of a pipeline of either kind."""
    if not is_xl(pipeline):
        return LesionPairPipeline(**pipeline.components, **UNUSED)
    return LesionPairXLPipeline(**_xl_parts(pipeline))


def plain_of(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    """Diffusers' own pipeline over the parts of one of either kind."""
    if not is_xl(pipeline):
        return StableDiffusionPipeline(**pipeline.components, **UNUSED)
    return StableDiffusionXLPipeline(**_xl_parts(pipeline), add_watermarker=False)


def _xl_parts(pipeline: DiffusionPipeline) -> dict[str, Any]:
    """The parts of a pipeline of SDXL, and how it takes an empty prompt."""
    empty = pipeline.config.get("force_zeros_for_empty_prompt", True)
    unused = ("image_encoder", "feature_extractor")
    parts = {name: part for name, part in pipeline.components.items() if name not in unused}
    return parts | {"force_zeros_for_empty_prompt": empty}
