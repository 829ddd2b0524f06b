"""Model folders: loading any Stable Diffusion model, and saving it again."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import StableDiffusionPipeline
from safetensors import SafetensorError

from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.tensor_files import written
from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.files import write_bytes, write_json_lines
from didgen.manifests.provenance.models import CAPTIONS_NAME, model_folder
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn


def load_pipeline(model: str, revision: str | None = None) -> LesionPairPipeline:
    """Load `mini`, a folder in diffusers format, or a hub id; safetensors only, in float32.

    Raises DidgenError in one sentence where it is not there, cannot be reached, or is no Stable
    Diffusion model.
    """
    _quiet()
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
        unet = pipeline.unet.config
        if unet.in_channels != pipeline.vae.config.latent_channels:
            raise ValueError(f"its UNet takes {unet.in_channels} channels: is it for inpainting?")
        if unet.addition_embed_type or unet.class_embed_type:
            raise ValueError("its UNet asks for more than a prompt, as that of SDXL does")
        if unet.in_channels != 4 or pipeline.vae_scale_factor != 8:
            raise ValueError("its latents are not of 4 channels and an eighth of the side")
        return pipeline
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise DidgenError(
            f"The model {model} could not be loaded: give a folder in diffusers format with "
            f"safetensors weights, or a hub id that can be reached ({in_short(error, 300)})."
        ) from None


def _quiet() -> None:
    """Turn off what diffusers says of every small model: that its autoencoder is not SD's own."""
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def save_pipeline(
    pipeline: StableDiffusionPipeline,
    folder: Path,
    captions: Iterable[tuple[str | None, str | None]],
    dtype: torch.dtype = torch.float32,
    card: str = "",
    trained_on: TrainedOn = TrainedOn(),  # noqa: B008 - immutable
) -> None:
    """Save a folder that `StableDiffusionPipeline.from_pretrained` loads, with its captions.

    captions: (label, caption) of the training images, for new prompts without their source;
    card: the text of its README.md, if any; trained_on: what it must not be tested on. The weights
    are written as `dtype`, and the pipeline's own are rounded to it. An older model in the folder
    is replaced only when the new one is whole.
    """
    _quiet()
    plain = StableDiffusionPipeline(**pipeline.components, requires_safety_checker=False)
    models = (plain.unet, plain.text_encoder, plain.vae)
    for model in models:
        model.to(dtype)
    # diffusers would write where the weights were loaded from: a path on the user's machine.
    for model in (plain.unet, plain.vae):
        model.register_to_config(_name_or_path="")
    with replaced(folder) as new:
        with written(new):
            plain.save_pretrained(new, safe_serialization=True)
        for model in models:
            model.to(torch.float32)
        write_documents(new, captions, card, trained_on)


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `folder` once it is whole."""
    temporary, old = (folder.with_name(folder.name + end) for end in (".tmp", ".old"))
    shutil.rmtree(temporary, ignore_errors=True)
    yield temporary
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def write_documents(
    folder: Path,
    captions: Iterable[tuple[str | None, str | None]],
    card: str,
    trained_on: TrainedOn,
) -> None:
    """Write what goes with a model of any method: captions, card and list of training images."""
    rows = ({"label": label, "caption": caption} for label, caption in captions)
    write_json_lines(folder / CAPTIONS_NAME, rows)
    if card:
        write_bytes(folder / "README.md", card.encode())
    if trained_on:
        write_bytes(folder / TRAINED_ON_NAME, trained_on.text())
