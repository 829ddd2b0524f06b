"""Model files: what lies where a model is said to lie, and what about it didgen cannot load.

Notable choices:
- A model is a folder in diffusers format, or one .safetensors file in the format of Stable
  Diffusion's first release. Such a file needs configs: those beside it, as in a clone of its
  repository, or for Stable Diffusion 1 those of the hub.
- Kinds are told from the configs and the names of tensors, before anything is loaded: much that is
  no Stable Diffusion loads as one, and draws noise.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.files import read_json
from didgen.manifests.shards.index import RUN_NAME

INDEX_NAME = "model_index.json"

METHOD_NAME = "didgen.json"

MODEL_INDEXES = (INDEX_NAME, METHOD_NAME)
"""What lies in a model's folder: the index of diffusers, or the name of a rival's method."""

CLASSES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "LesionPairPipeline")
"""The pipelines whose parts are those of Stable Diffusion 1 and 2."""

PARTS = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL"),
    "text_encoder": ("CLIPTextModel",),
}
"""The parts with weights, and the classes they may have."""

XL_CLASSES = (
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "LesionPairXLPipeline",
)
"""The pipelines whose parts are those of Stable Diffusion XL."""

XL_PARTS = PARTS | {"text_encoder_2": ("CLIPTextModelWithProjection",)}
"""Its parts with weights."""

FIRST_RELEASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
"""Whose configs fit any Stable Diffusion 1 in one file."""

CONFIGS = (INDEX_NAME, "scheduler/*.json", "tokenizer/*", *(f"{part}/*.json" for part in PARTS))
"""What of a hub's repository a model in one file needs."""

_POINTER = b"version https://git-lfs.github.com/spec/"

_TAKEN = "didgen takes Stable Diffusion 1, 2 and XL, with a UNet and CLIP text encoders"

_SCHEDULES = ("epsilon", "v_prediction", "sample")


def is_model(folder: Path) -> bool:
    """Whether a folder is a model's: Stable Diffusion's, or a rival's."""
    return any((folder / name).is_file() for name in MODEL_INDEXES)


def fault_of(path: Path) -> str | None:
    """Why a file or folder is no model that didgen loads, with the mend; None where it may be."""
    try:
        return next(_file_faults(path) if path.is_file() else _folder_faults(path), None)
    except DidgenError as error:
        return str(error).rstrip(".")


def _folder_faults(folder: Path) -> Iterator[str]:
    for path in sorted({*folder.glob("*.*"), *folder.glob("*/*.*")}):
        if _is_pointer(path):
            yield f"{path} is a pointer of Git LFS: run `git lfs pull` in its repository"
    if not (folder / INDEX_NAME).is_file():
        yield _without_index(folder)
    yield from _config_faults(folder)


def _config_faults(folder: Path) -> Iterator[str]:
    """What the index of a model and the config of its scheduler say against it."""
    index = _json(folder / INDEX_NAME)
    if index.get("_class_name") not in (*CLASSES, *XL_CLASSES):
        yield f"it is a {index.get('_class_name')}; {_TAKEN}"
    for part, classes in _parts(index).items():
        name = _class_in(index, part)
        if name not in classes:
            yield f"its {part} is a {name}, and that of Stable Diffusion is a {classes[0]}"
    schedule = _json(folder / "scheduler" / "scheduler_config.json")
    name = _class_in(index, "scheduler")
    if "LCM" in name or "TCD" in name:
        yield f"it is distilled for a few steps of {name}; give the model it was distilled from"
    kind = schedule.get("prediction_type", "epsilon")
    if kind not in _SCHEDULES or "Flow" in name:
        yield f"its scheduler ({name}, {kind}) is of flow matching; {_TAKEN}"


def _parts(index: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """The parts with weights that a model's index asks for."""
    return XL_PARTS if index.get("_class_name") in XL_CLASSES else PARTS


def _without_index(folder: Path) -> str:
    """What a folder without the index of a model is instead."""
    if (folder / METHOD_NAME).is_file():
        return "it is a rival's model: `didgen augment` draws from it, and nothing finetunes it"
    if is_model(folder / "model"):
        return f"its model lies in {folder / 'model'}: give that folder"
    if (folder / RUN_NAME).is_file():
        return "it is a run without a model: let `didgen finetune` finish it"
    if (folder / "adapter_config.json").is_file() or list(folder.glob("*lora*.safetensors")):
        return _adapters(folder.parent / "model")
    if (folder / "config.json").is_file():
        name = _json(folder / "config.json").get("_class_name", "part")
        return f"it holds the {name} of a model alone: give the folder above it"
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    if files:
        return f"it has no {INDEX_NAME}: give one of its files, as {folder / files[0]}"
    return (
        f"it has no {INDEX_NAME}: give a folder in diffusers format with safetensors weights, or "
        "one .safetensors file"
    )


def _adapters(merged: Path) -> str:
    if (merged / INDEX_NAME).is_file():
        return f"it holds LoRA adapters alone: give the model they are merged into, {merged}"
    return (
        "it holds LoRA adapters alone: merge them into their model by `load_lora_weights`, "
        "`fuse_lora` and `save_pretrained` of diffusers, and give what that saves"
    )


def _file_faults(path: Path) -> Iterator[str]:
    if _is_pointer(path):
        yield "it is a pointer of Git LFS: run `git lfs pull` in its repository"
    if path.suffix != ".safetensors":
        yield "weights in one file are read from .safetensors alone; pickled ones never"
    names = _tensor_names(path)
    if not names:
        yield "it is damaged: copy it or download it again"
    if any("lora" in name for name in names):
        yield _adapters(path.parent / "model")
    if (path.parent.parent / INDEX_NAME).is_file() and path.parent.name in PARTS:
        yield f"it holds the {path.parent.name} of a model alone: give {path.parent.parent}"
    if any(name.startswith(("conditioner.", "joint_blocks", "text_encoders.")) for name in names):
        yield (
            "it is of Stable Diffusion XL or 3 in one file: give a folder of XL in diffusers "
            "format; 3 has a transformer in place of the UNet"
        )
    missing = [
        part
        for part, prefix in {
            "UNet": "model.diffusion_model.input_blocks.",
            "autoencoder": "first_stage_model.",
            "text encoder": "cond_stage_model.",
        }.items()
        if not any(name.startswith(prefix) for name in names)
    ]
    if missing:
        yield f"it holds no {' and no '.join(missing)} of Stable Diffusion; give a whole model"
    if (path.parent / INDEX_NAME).is_file():
        yield from _config_faults(path.parent)
        kind = _class_in(_json(path.parent / INDEX_NAME), "vae")
        # diffusers would take the weights of any other from the folder, pickled ones too.
        if kind != "AutoencoderKL":
            yield f"beside it lie the configs of another model, whose autoencoder is a {kind}"


def configs_of(file: Path) -> Path:
    """The folder with the configs of a model in one file: the file's own, or the hub's copy.

    DidgenError where there are none: the weights do not say what they are to predict.
    """
    if (file.parent / INDEX_NAME).is_file():
        return file.parent
    second = any(name.startswith("cond_stage_model.model.") for name in _tensor_names(file))
    reason = "no one repository fits every Stable Diffusion 2"
    if not second:
        try:
            return Path(snapshot_download(FIRST_RELEASE, allow_patterns=list(CONFIGS)))
        except (OSError, ValueError) as error:
            reason = f"those of {FIRST_RELEASE} cannot be reached: {in_short(error, 100)}"
    raise DidgenError(
        f"The model {file} could not be loaded: it holds weights alone; put {INDEX_NAME} and "
        "the folders scheduler, tokenizer, text_encoder, unet and vae of the repository it was "
        f"made from, with their .json and .txt files, into {file.parent} ({reason})."
    ) from None


def config_files(folder: Path) -> list[Path]:
    """The files in a folder of `configs_of` that decide what a model in one file draws."""
    return sorted(path for pattern in CONFIGS for path in folder.glob(pattern) if path.is_file())


def parts_of(folder: Path) -> dict[str, tuple[str, str]]:
    """Library and class of each part with weights, in a folder without a fault."""
    index = _json(folder / INDEX_NAME)
    return {part: (str(index[part][0]), str(index[part][1])) for part in _parts(index)}


def variant_of(folder: Path) -> str | None:
    """Which weights of a part are there: None for those without a variant's name, else `fp16`."""
    names = [path.name for path in folder.glob("*.safetensors*")]
    plain = [name for name in names if ".fp16" not in name]
    return "fp16" if names and not plain else None


def _class_in(index: dict[str, Any], part: str) -> str:
    """The class of a part, as the index names it beside its library."""
    said = index.get(part)
    return str(said[1]) if isinstance(said, list) and len(said) == 2 else "nothing"


def _json(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise DidgenError(f"{path} is no config of a model; copy or download it again.")
    return found


def _is_pointer(path: Path) -> bool:
    """Whether Git LFS left a pointer in a file's place; such a file is small."""
    if not path.is_file() or path.stat().st_size > 1024:
        return False
    return path.read_bytes().startswith(_POINTER)


def _tensor_names(path: Path) -> list[str]:
    """The names of the tensors in a file, from its head; none where it is damaged."""
    try:
        with safe_open(path, framework="np") as tensors:
            return list(tensors.keys())
    except SafetensorError:
        return []
