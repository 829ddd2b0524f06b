"""Model folders: loading any Stable Diffusion model, XL among them, and saving it again."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import StableDiffusionPipeline
from diffusers.loaders.single_file_utils import SingleFileComponentError

from didgen.augment.conditioning.texts import text_parts
from didgen.augment.diffusion.kinds import LesionPairXLPipeline, is_xl, plain_of
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.models.place import KEPT_OUT, ModelFault, found, loading
from didgen.augment.tensor_files import written
from didgen.manifests.files import read_json, write_bytes, write_json, write_json_lines
from didgen.manifests.provenance.model_files import (
    PARTS,
    XL_PARTS,
    configs_of,
    parts_of,
    variant_of,
)
from didgen.manifests.provenance.models import CAPTIONS_NAME
from didgen.manifests.provenance.trained_on import TRAINED_ON_NAME, TrainedOn


def load_pipeline(model: str, revision: str | None = None) -> LesionPairPipeline:
    """Load `mini`, a folder in diffusers format, a .safetensors file, or a hub id, in float32.

    Weights are read from safetensors only, those of the variant fp16 where there are no others.
    Raises DidgenError in one sentence where it is not there, cannot be reached, or is no Stable
    Diffusion model.
    """
    _quiet()
    with loading(model):
        place = found(model, revision)
        pipeline = _one_file(place) if place.is_file() else _folder(place)
        if fault := _parts_fault(pipeline):
            raise ModelFault(fault)
        return pipeline


def _folder(folder: Path) -> LesionPairPipeline:
    """The pipeline in a folder; a part whose weights are not all there is a fault."""
    parts: dict[str, Any] = {}
    for part, (library, name) in parts_of(folder).items():
        kind: Any = getattr({"diffusers": diffusers, "transformers": transformers}[library], name)
        parts[part], read = kind.from_pretrained(
            str(folder),
            subfolder=part,
            variant=variant_of(folder / part),
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            # So that what does not fit can be named; diffusers names it itself.
            ignore_mismatched_sizes=library == "transformers",
        )
        if read["missing_keys"]:
            raise ModelFault(
                f"its {part} lacks weights that its config asks for, first "
                f"{min(read['missing_keys'])}; copy or download it again"
            )
        if read["mismatched_keys"]:
            key, found, asked = min(read["mismatched_keys"])
            raise ModelFault(
                f"its {part} has {key} of shape {tuple(found)}, and its config says "
                f"{tuple(asked)}; put back the config that the weights were saved with"
            )
    if "text_encoder_2" in parts:
        return LesionPairXLPipeline.from_pretrained(str(folder), **parts)
    return LesionPairPipeline.from_pretrained(str(folder), **parts, **KEPT_OUT)


def _one_file(path: Path) -> LesionPairPipeline:
    """The pipeline in one file, by the configs beside it or the hub's."""
    try:
        return LesionPairPipeline.from_single_file(
            str(path), config=str(configs_of(path)), dtype=torch.float32, local_files_only=True
        )
    except (NotImplementedError, SingleFileComponentError):
        # The first is torch's word for a weight that was never filled.
        raise ModelFault(
            "it lacks weights that the configs beside it ask for: put its own there"
        ) from None


def _parts_fault(pipeline: LesionPairPipeline) -> str | None:
    """What about the loaded parts of a model does not fit didgen, or each other."""
    unet = pipeline.unet.config
    for tokenizer, encoder in text_parts(pipeline):
        if fault := _text_fault(tokenizer, encoder):
            return fault
    if unet.in_channels != pipeline.vae.config.latent_channels:
        return f"its UNet takes {unet.in_channels} channels: is it for inpainting?"
    added = "text_time" if is_xl(pipeline) else None
    if unet.addition_embed_type != added or unet.class_embed_type:
        return "its UNet asks for more than a prompt, such as a class or an image"
    if unet.time_cond_proj_dim is not None:
        return "its UNet is distilled for a few steps (LCM); give the model it was distilled from"
    if unet.in_channels != 4 or pipeline.vae_scale_factor != 8:
        return "its latents are not of 4 channels and an eighth of the side"
    if not isinstance(unet.sample_size, int):
        return (
            f"its UNet's `sample_size` is {unet.sample_size}, and didgen draws squares: write one "
            "number into unet/config.json, an eighth of the side"
        )
    parts = pipeline.components
    for name in (name for name in PARTS | XL_PARTS if name in parts):
        for key, weight in parts[name].named_parameters():
            if weight.is_meta:
                return f"its {name} lacks the weights {key}; copy or download it again"
            if not bool(weight.isfinite().all()):
                return f"its {name} has weights that are no numbers, first {key}; save it again"
    return None


def _text_fault(tokenizer: Any, encoder: Any) -> str | None:
    """What about a tokenizer does not fit its text encoder."""
    # transformers makes up an empty tokenizer where its files are missing.
    if len(tokenizer) < 256:
        return "its tokenizer has no vocabulary: copy or download the folder tokenizer again"
    words = encoder.get_input_embeddings().num_embeddings
    if max(tokenizer.get_vocab().values()) >= words:
        return f"its tokenizer knows {len(tokenizer)} words, and its text encoder {words}"
    if tokenizer.model_max_length > encoder.config.max_position_embeddings:
        return (
            f"its text encoder takes {encoder.config.max_position_embeddings} tokens: say so in "
            "tokenizer/tokenizer_config.json, as `model_max_length`"
        )
    return None


def _quiet() -> None:
    """Turn off what the libraries say of small models and, at length, of those that are refused."""
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def save_pipeline(
    pipeline: StableDiffusionPipeline,
    folder: Path,
    captions: Iterable[tuple[str | None, str | None]],
    dtype: torch.dtype = torch.float32,
    card: str = "",
    trained_on: TrainedOn = TrainedOn(),  # noqa: B008 - immutable
) -> None:
    """Save a folder that diffusers' own pipeline of the kind loads, with its captions.

    captions: (label, caption) of the training images, for new prompts without their source;
    card: the text of its README.md, if any; trained_on: what it must not be tested on. The weights
    are written as `dtype`, and the pipeline's own are rounded to it. An older model in the folder
    is replaced only when the new one is whole.
    """
    _quiet()
    plain = plain_of(pipeline)
    encoders = [name for name in plain.components if name.startswith("text_encoder")]
    models = (plain.unet, plain.vae, *(plain.components[name] for name in encoders))
    for model in models:
        model.to(dtype)
    # diffusers would write where the weights were loaded from: a path on the user's machine.
    for model in (plain.unet, plain.vae):
        model.register_to_config(_name_or_path="")
    with replaced(folder) as new:
        with written(new):
            plain.save_pretrained(new, safe_serialization=True)
        # Without a dtype diffusers loads its parts in float32, and transformers as is said here.
        for name in encoders:
            config = new / name / "config.json"
            write_json(config, read_json(config) | {"dtype": "float32"})
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
