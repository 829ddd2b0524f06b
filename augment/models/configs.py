"""The configs of a Stable Diffusion model: its sizes, timesteps and layers, read without torch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from didgen.augment.models.place import ModelFault
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json
from didgen.manifests.provenance.model_files import configs_of
from didgen.manifests.recipes.sampling import Annotation, AttentionMaps

KINDS = {"attn1": ("self", "self_side"), "attn2": ("cross", "cross_side")}
"""What diffusers calls the two kinds of attention, in words and as a field of the recipe."""

PARTS = ("down", "mid", "up")
"""Parts of a UNet in the order of its pass."""


@dataclass(frozen=True)
class Configs:
    """What the configs of the UNet and the scheduler say, each as its file."""

    unet: Mapping[str, Any]
    scheduler: Mapping[str, Any]

    @classmethod
    def read(cls, place: Path) -> "Configs":
        """The configs of a model in a folder or in one file.

        Raises ModelFault for a UNet that does not say its size in one number.
        """
        folder = configs_of(place) if place.is_file() else place
        unet = read_json(folder / "unet" / "config.json")
        if not isinstance(unet.get("sample_size"), int):
            raise ModelFault(
                f"its UNet's `sample_size` is {unet.get('sample_size')}, and didgen draws squares: "
                "write one number into unet/config.json, an eighth of the side"
            )
        return cls(unet, read_json(folder / "scheduler" / "scheduler_config.json"))

    @property
    def latent_side(self) -> int:
        """Side of the latents that the model was trained on."""
        return int(self.unet["sample_size"])

    @property
    def image_size(self) -> int:
        """Side of its images in pixels; an autoencoder of another scale than 8 is refused."""
        return self.latent_side * 8

    def at(self, latent_side: int) -> "Configs":
        """The same model at latents of another side."""
        return replace(self, unet={**self.unet, "sample_size": latent_side})

    @property
    def timesteps(self) -> int:
        """How many timesteps the model was trained with."""
        return int(self.scheduler.get("num_train_timesteps", 1000))

    def attention_sides(self, parts: Collection[str]) -> set[int]:
        """Sides of the feature maps at the layers that hold both kinds of attention."""
        down, up = self.unet["down_block_types"], self.unet["up_block_types"]
        deepest = len(down) - 1
        levels = {level for level, kind in enumerate(down) if "down" in parts and _crosses(kind)}
        levels |= {
            deepest - place for place, kind in enumerate(up) if "up" in parts and _crosses(kind)
        }
        middle = self.unet.get("mid_block_type", "UNetMidBlock2DCrossAttn")
        levels |= {deepest} if "mid" in parts and _crosses(middle) else set()
        # A stride of two rounds up where a side is odd.
        return {math.ceil(self.latent_side / 2**level) for level in levels}


def _crosses(block: str | None) -> bool:
    return block is not None and "CrossAttn" in block


def check_sides(kind: str, asked: AttentionMaps, latent_side: int, known: Collection[int]) -> None:
    """Raise DidgenError where no layer has the maps that a recipe reads; `known` are all sides."""
    word, setting = KINDS[kind]
    side = getattr(asked, setting)
    if side in known:
        return
    sides = ", ".join(f"{at}x{at}" for at in sorted(known, reverse=True))
    parts = "" if set(asked.parts) == set(PARTS) else f" in its {' and '.join(asked.parts)} part"
    raise DidgenError(
        f"This UNet has no {side}x{side} {word}-attention layer{parts} at "
        f"{latent_side}x{latent_side} latents, only {sides or 'none at all'}; use another "
        f"image size, or name one of these in the recipe's `maps.{setting}`."
    )


def check_timestep(trained: int, annotation: Annotation) -> None:
    """Raise DidgenError for maps that are to be read at a timestep that was not trained with."""
    timestep = annotation.timestep
    if timestep is not None and timestep >= trained:
        raise DidgenError(
            f"`sampling.annotation.timestep` is {timestep}, but the model's timesteps end at "
            f"{trained - 1}; lower it, or leave it out for the last step."
        )


def check_pndm(scheduler: Mapping[str, Any]) -> None:
    """Raise DidgenError for a noise schedule that PNDM cannot sample."""
    if scheduler.get("rescale_betas_zero_snr") or scheduler.get("prediction_type") == "sample":
        raise DidgenError(
            "PNDM cannot sample a model trained to zero terminal SNR or to predict the image "
            "itself; set `sampling.scheduler` to dpm++, unipc or ddim."
        )
