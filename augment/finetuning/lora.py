"""LoRA: low-rank adapters on a UNet, in diffusers' own format on disk (Hu et al., ICLR 2022)."""

import difflib
import os
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import nn

from didgen.augment.tensor_files import written
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.finetune import Lora


def add_adapters(unet: UNet2DConditionModel, lora: Lora, dtype: torch.dtype, seed: int) -> None:
    """Give the UNet adapters that train, in float32, and fix its own weights, in `dtype`.

    Fresh adapters change nothing yet. Raises DidgenError for a layer that the UNet has not.
    """
    known = {
        ".".join(name.split(".")[-parts:])
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        for parts in range(1, name.count(".") + 2)
    }
    for layer in lora.layers:
        if layer not in known:
            (near,) = difflib.get_close_matches(layer, sorted(known, key=len), n=1, cutoff=0.0)
            raise DidgenError(
                f"`lora.layers` names {layer}, but no linear layer or convolution of this UNet "
                f"ends in that; the nearest name is {near}."
            )
    unet.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(
            LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,  # type: ignore[arg-type]
                target_modules=list(lora.layers),
            )
        )
    for parameter in unet.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def save_adapters(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write the adapters where `StableDiffusionPipeline.load_lora_weights(folder)` finds them."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    config = unet.peft_config["default"]
    with written(temporary):
        StableDiffusionPipeline.save_lora_weights(
            temporary,
            unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(unet)),
            # The weights do not tell alpha.
            unet_lora_adapter_metadata={
                "r": config.r,
                "lora_alpha": config.lora_alpha,
                "target_modules": sorted(config.target_modules),
            },
        )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def merge_adapters(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Add saved adapters to the weights of the model that they were trained on."""
    pipeline.load_lora_weights(folder)
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
