"""The model room: loading any Stable Diffusion model, encoding with it, saving it again."""

import os
import shutil
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline
from safetensors import SafetensorError
from torch import Tensor

from augment.pipeline import LesionPairPipeline
from manifests.errors import DidgenError

MINI = Path(__file__).parent / "mini"
"""The bundled model; a recipe calls it `mini`."""


def model_folder(model: str) -> Path:
    """Where a local model lies; for a hub id, a path that does not exist."""
    return MINI if model == "mini" else Path(model)


def load_pipeline(model: str, revision: str | None = None) -> LesionPairPipeline:
    """Load `mini`, a folder in diffusers format, or a hub id; safetensors only, in float32.

    Raises DidgenError in one sentence where it is not there, cannot be reached, or is no Stable
    Diffusion model.
    """
    # diffusers would say of every small model that its autoencoder is not SD's own class.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        pipeline = LesionPairPipeline.from_pretrained(
            str(model_folder(model)),
            revision=revision,
            dtype=torch.float32,
            use_safetensors=True,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        # transformers makes up an empty tokenizer where its files are missing.
        if len(pipeline.tokenizer) < 256:
            raise ValueError("its tokenizer has no vocabulary")
        return pipeline
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DidgenError(
            f"The model {model} could not be loaded: give a folder in diffusers format with "
            f"safetensors weights, or a hub id that can be reached ({reason})."
        ) from None


def save_pipeline(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Save a folder that `StableDiffusionPipeline.from_pretrained` loads; whole or not at all."""
    plain = StableDiffusionPipeline(**pipeline.components, requires_safety_checker=False)
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    plain.save_pretrained(temporary, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def encode(vae: AutoencoderKL | AutoencoderTiny, pixels: Tensor) -> Tensor:
    """Scaled latents (B, 4, H/8, W/8) of images (B, 3, H, W) in [-1, 1]; a posterior's mode."""
    encoded = vae.encode(pixels)
    raw = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    return (raw - shift) * vae.config.scaling_factor
