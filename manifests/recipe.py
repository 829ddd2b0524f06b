"""Recipes: what a run is asked to do, as YAML validated by pydantic.

Notable choices:
- A field that is not known is an error that names the nearest one that is; nothing is ignored.
- Paths in a recipe are relative to the working folder, like every path typed on the command line.
- `fingerprint` covers what decides the result and leaves out what only decides the speed.
"""

import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.errors import DidgenError

RECIPES = Path(__file__).parent / "recipes"
"""The recipes that come with didgen; `NAME` on the command line means `RECIPES / NAME.yaml`."""

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Rate = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=16, multiple_of=16)]


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AutoencoderStage(Section):
    """Training of the autoencoder of a model built from a config."""

    channels: Annotated[int, Field(ge=3)] = 32
    encoder_blocks: tuple[int, int, int, int] = (0, 1, 1, 2)
    decoder_blocks: tuple[int, int, int, int] = (2, 2, 1, 1)
    crop: Annotated[int, Field(ge=16, multiple_of=8)] = 128
    steps: Positive = 2000
    batch_size: Positive = 8
    learning_rate: Rate = 5e-4


class Build(Section):
    """A small Stable Diffusion model built from nothing instead of loaded: its shape."""

    autoencoder: AutoencoderStage = AutoencoderStage()
    unet_channels: Annotated[tuple[Width, ...], Field(min_length=3)] = (64, 128, 192)
    unet_layers: Positive = 1
    head_channels: Positive = 32
    text_width: Positive = 128
    text_layers: Positive = 3
    text_heads: Positive = 4
    vocabulary: Annotated[int, Field(ge=514)] = 1000
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "v_prediction"

    @model_validator(mode="after")
    def heads_share_the_width(self) -> Self:
        if self.text_width % self.text_heads:
            raise ValueError("`text_width` must be a multiple of `text_heads`")
        return self


class FinetuneRecipe(Section):
    """`didgen finetune`: region-aware finetuning of a loaded model, or training of a built one."""

    kind: Literal["finetune"] = "finetune"
    source: Path
    model: str | None = None
    revision: str | None = None
    build: Build | None = None

    image_size: Annotated[int, Field(ge=128, multiple_of=64)] = 512
    steps: Positive = 20_000
    batch_size: Positive = 4
    learning_rate: Rate = 1e-5
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    max_grad_norm: Rate = 1.0
    attention_weight: Annotated[float, Field(ge=0)] = 0.1
    leak_weight: Annotated[float, Field(ge=0)] = 0.0
    normalise_maps: bool = True
    caption_probability: Share = 0.8
    prompt_dropout: Share = 0.1
    orientations: Literal["none", "flips", "dihedral"] = "flips"
    ema_decay: Share | None = None
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"
    checkpoint_every: Positive = 500
    save_as: Literal["float32", "float16"] = "float32"
    seed: Seed = 42

    @model_validator(mode="after")
    def one_model(self) -> Self:
        if (self.model is None) == (self.build is None):
            raise ValueError("give one of `model` (a folder or hub id) and `build` (a shape)")
        return self


class Guidance(Section):
    """Layout guidance of pairs, Eq. 5 and 6."""

    eta: Annotated[float, Field(ge=0)] = 20.0
    until: Share = 0.5
    smoothing_sigma: Annotated[float, Field(ge=0)] = 0.5
    cross_attention: bool = True
    self_attention: bool = True


class Sampling(Section):
    """How one image is drawn."""

    scheduler: Literal["dpm++", "ddim", "pndm"] = "dpm++"
    steps: Positive = 20
    cfg: Annotated[float, Field(ge=1)] = 7.5
    batch_size: Positive = 8
    guidance: Guidance = Guidance()


class ImagesPlan(Section):
    """Class-balanced images: a number for every class, one per class, or up to the largest."""

    per_class: Positive | dict[str, Annotated[int, Field(ge=0)]] | Literal["fill"] = 1000
    exclude: tuple[str, ...] = ("NV",)


class PairsPlan(Section):
    """Lesion-mask pairs: how many, and where their layouts come from."""

    count: Annotated[int, Field(ge=0)] = 2500
    layouts: Literal["source", "drawn"] = "source"
    exclude: tuple[str, ...] = ("NV",)


class AugmentRecipe(Section):
    """`didgen augment`: what to make, with which model, and how it is packed."""

    kind: Literal["augment"] = "augment"
    model: str = "mini"
    revision: str | None = None
    source: Path | None = None
    captions: Path | None = None
    images: ImagesPlan | None = ImagesPlan()
    pairs: PairsPlan | None = PairsPlan()
    sampling: Sampling = Sampling()
    shard_size: Positive = 256
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    seed: Seed = 42

    @model_validator(mode="after")
    def source_where_needed(self) -> Self:
        if self.images is None and self.pairs is None:
            raise ValueError("`images` and `pairs` are both null: nothing to make")
        if self.source is None:
            if self.pairs is not None and self.pairs.layouts == "source":
                raise ValueError("`pairs.layouts: source` needs `source`, a source manifest")
            if self.images is not None and self.images.per_class == "fill":
                raise ValueError("`images.per_class: fill` needs `source`, a source manifest")
        return self


SPEED_ONLY = {"sampling": {"batch_size"}}
"""Fields of an AugmentRecipe that change how fast samples are made, not which."""


def asked(recipe: AugmentRecipe) -> dict[str, Any]:
    """The fields of a recipe that decide the result, as JSON values."""
    return recipe.model_dump(mode="json", exclude=SPEED_ONLY)


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


R = TypeVar("R", bound=Section)


def read_recipe(name: str | Path, kind: type[R]) -> R:
    """Read a recipe of one kind from a YAML file or by the name of a bundled recipe.

    Raises DidgenError with one sentence: no such file, not YAML, an unknown field (with the
    nearest known one), a value out of range.
    """
    path = Path(name)
    if not path.is_file() and path.suffix == "" and (RECIPES / f"{name}.yaml").exists():
        path = RECIPES / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise DidgenError(
            f"{name} is neither a file nor a bundled recipe; the bundled ones are {known}."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DidgenError(f"{path} is not readable YAML ({reason}); correct it.") from None
    if not isinstance(content, dict):
        raise DidgenError(f"{path} holds no fields; a recipe is a YAML mapping.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise DidgenError(f"{path}: {_sentence(error, kind)}") from None


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first fault of a recipe in words, with the nearest known field for an unknown one."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the recipe"
    if fault["type"] != "extra_forbidden":
        return f"`{where}` is wrong: {fault['msg'].removeprefix('Value error, ')}."
    field = str(fault["loc"][-1])
    known = _fields(kind)
    near = difflib.get_close_matches(field, known, n=1, cutoff=0.0)
    return f"`{where}` is not a field of a recipe; the nearest one is `{near[0]}`."


def _fields(kind: type[BaseModel]) -> list[str]:
    """Names of all fields of a recipe and of its sections."""
    names = []
    for name, field in kind.model_fields.items():
        names.append(name)
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                names += _fields(part)
    return names
