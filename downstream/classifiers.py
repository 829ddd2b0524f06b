"""Classifiers: networks of timm, with the weights that a recipe names."""

import difflib
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from downstream.recipe import Network
from manifests.errors import DidgenError

WEIGHTS = "model.safetensors"
"""The file that is taken from the hub: timm's other files are pickled."""


class Classifier(nn.Module):
    """A network that takes 8-bit pixels: (B, 3, S, S) uint8 to logits (B, C).

    Pixels are normalised by the mean and deviation that the network's weights were trained with.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        config = resolve_model_data_config(network)
        self.network = network
        for name, values in (("mean", config["mean"]), ("deviation", config["std"])):
            shaped = torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, shaped, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = (pixels / 255 - self.mean) / self.deviation
        return self.network(scaled.contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True)
class Weights:
    """What a network starts from: a safetensors file, or None for random weights; in words too."""

    file: Path | None
    said: str


RANDOM = "random weights, no pretraining"


def find_weights(network: Network) -> Weights:
    """The weights that a network is to start from, fetched from the hub where need be.

    A name that timm does not know, a file that is not there or no safetensors, weights that timm
    has none of and a hub that does not answer are each a `DidgenError`.
    """
    if not timm.is_model(network.name):
        near = difflib.get_close_matches(network.name, timm.list_models(), n=1, cutoff=0)[0]
        raise DidgenError(f"timm has no network {network.name}; the nearest name is {near}.")
    if network.weights == "none":
        return Weights(None, RANDOM)
    if network.weights not in ("pretrained", "reachable"):
        path = Path(network.weights)
        if path.suffix != ".safetensors":
            raise DidgenError(
                f"{path} is no safetensors file, and didgen opens no other weights; "
                "give `pretrained`, `none` or such a file."
            )
        if not path.is_file():
            raise DidgenError(f"{path} does not exist; correct `weights` of {network.called}.")
        return Weights(path, f"weights of {path.name}")
    config = timm.models.get_pretrained_cfg(network.name)
    if config is None or not config.hf_hub_id:
        raise DidgenError(
            f"timm has no pretrained weights of {network.name}; give `weights` none or a file."
        )
    try:
        file = Path(hf_hub_download(config.hf_hub_id, WEIGHTS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        if network.weights == "reachable":
            return Weights(None, f"{RANDOM}, since {config.hf_hub_id} could not be reached")
        reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        raise DidgenError(
            f"The weights of {network.called} ({config.hf_hub_id}) cannot be fetched ({reason}); "
            "fetch them elsewhere and give the file as `weights`, or set it to none."
        ) from None
    return Weights(file, f"weights of {config.hf_hub_id}")


def build_classifier(network: Network, classes: int, weights: Path | None) -> Classifier:
    """A network of timm with a new head for `classes`; the rest starts from `weights`, if any.

    Weights that do not fit and arguments that the network does not take are a `DidgenError`.
    """
    overlay = None if weights is None else {"file": str(weights)}
    try:
        return Classifier(
            timm.create_model(
                network.name,
                pretrained=weights is not None,
                num_classes=classes,
                pretrained_cfg_overlay=overlay,
                **network.arguments,
            )
        )
    except Exception as error:  # noqa: BLE001 - networks check their arguments each in its own way
        reason = " ".join(str(error).split())[:200].rstrip(".")
        what = f"arguments {network.arguments}" + (f" and weights {weights}" if weights else "")
        raise DidgenError(
            f"{network.called} cannot be built with the {what} ({reason}); correct the recipe."
        ) from None
