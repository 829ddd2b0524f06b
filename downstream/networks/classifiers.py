"""Classifiers: networks of timm, with the weights that a recipe names.

Notable choices:
- A new head on pretrained weights starts at 0 (Dosovitskiy et al., ICLR 2021, 3.1). timm scales a
  new head as its network's family does, which for EfficientNet and six classes means weights up to
  0.4: the first losses are then above those of chance, and their gradients undo the pretraining.
"""

import difflib
from pathlib import Path

import timm
from torch import Tensor, nn

from didgen.downstream.networks.network import Network
from didgen.downstream.networks.normalise import Normalise
from didgen.downstream.networks.weights import (
    Published,
    Weights,
    check_arguments,
    check_taken,
    fetch_weights,
    misfit,
    overlay,
)
from didgen.manifests.errors import DidgenError


class Classifier(nn.Module):
    """A network that takes 8-bit pixels: (B, 3, S, S) uint8 to logits (B, C).

    Pixels are normalised by the mean and deviation that the network's weights were trained with.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(network)
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(self.normalise(pixels))


def find_weights(network: Network) -> Weights:
    """The weights that a network is to start from, fetched from the hub where need be.

    A name that timm does not know, and what `fetch_weights` refuses, is a `DidgenError`.
    """
    check_timm(network.name)
    return fetch_weights(network, published(network.name), "timm")


def check_timm(name: str) -> None:
    """Refuse a name that timm does not know, with the nearest one that it does."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0)[0]
        raise DidgenError(f"timm has no network {name}; the nearest name is {near}.")


def published(name: str) -> Published | None:
    """Where the hub has timm's weights of a network, if it does."""
    config = timm.models.get_pretrained_cfg(name)
    return Published(config.hf_hub_id) if config and config.hf_hub_id else None


def build_classifier(network: Network, classes: int, weights: Path | None) -> Classifier:
    """A network of timm with a new head for `classes`; the rest starts from `weights`, if any.

    With weights the first predictions are those of chance. Weights that do not fit and arguments
    that the network does not take are a `DidgenError`.
    """
    check_arguments(network)
    loading = overlay(weights) if weights else {}
    try:
        built = timm.create_model(
            network.name,
            pretrained=weights is not None,
            num_classes=classes,
            **loading,
            **network.arguments,
        )
        if weights:
            check_taken(built, weights)
            if classes:
                _start_at_chance(built, classes)
        return Classifier(built)
    except Exception as error:  # noqa: BLE001 - networks check their arguments each in its own way
        raise misfit(network, weights, error) from None


def _start_at_chance(network: nn.Module, classes: int) -> None:
    """Set the last layer of a network's head, or of each of its heads, to 0."""
    found = network.get_classifier()  # type: ignore[operator]
    for head in found if isinstance(found, tuple) else (found,):
        for layer in head.modules():
            # Zeros further below would keep a head from learning.
            if isinstance(layer, nn.Linear | nn.Conv2d) and len(layer.weight) == classes:
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)
