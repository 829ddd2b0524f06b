"""Segmentation nets: any of smp and of MONAI, and this project's own, under one registry.

Notable choices:
- A name is that of a class with its library before it: `smp.Unet`, `monai.SegResNet`.
- Channels in and out, and MONAI's `spatial_dims`, are filled in here; all else is an argument.
- A net of smp starts from the weights of its encoder, whose name is the argument `encoder_name`,
  XBound-Former from those of its `encoder`; the others start from a file of the whole net, or none.
"""

import difflib
import inspect
from pathlib import Path
from typing import Any

import monai.networks.nets
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from monai.networks.nets import BasicUNetPlusPlus
from safetensors.torch import load_file
from segmentation_models_pytorch.base import SegmentationModel
from segmentation_models_pytorch.encoders import encoders, get_preprocessing_params
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from didgen.downstream.networks.classifiers import check_timm, published
from didgen.downstream.networks.dcsaunet import DCSAUNet
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.normalise import Normalise
from didgen.downstream.networks.segmenter_outputs import Outputs
from didgen.downstream.networks.weights import (
    FETCHED,
    RANDOM,
    Published,
    Weights,
    check_arguments,
    check_taken,
    fetch_weights,
    misfit,
    overlay,
)
from didgen.downstream.networks.xboundformer import TRUNK, XBoundFormer
from didgen.manifests.errors import DidgenError, in_short

TIMM = "tu-"
"""What smp has before the name of an encoder of timm."""

FILLED = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1}
"""Arguments by which a class of MONAI is known to make images of images."""

OWN: dict[str, type[nn.Module]] = {"dcsaunet": DCSAUNet, "xboundformer": XBoundFormer}


def _registry() -> dict[str, type[nn.Module]]:
    modules = {"smp": smp, "monai": monai.networks.nets}
    classes = [
        (library, one)
        for library, module in modules.items()
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, nn.Module)
    ]
    return OWN | {
        f"{library}.{one.__name__}": one
        for library, one in classes
        if issubclass(one, SegmentationModel)
        or inspect.signature(one).parameters.keys() >= FILLED.keys()
    }


REGISTRY = _registry()


class Segmenter(nn.Module):
    """A network that takes 8-bit pixels: (B, 3, S, S) uint8 to logits (B, 1, S, S).

    In training it gives `Outputs`. Pixels are normalised by the mean and deviation that the
    network's weights were trained with. A network that gives no masks is a `DidgenError`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(network)
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor | Outputs:
        outputs = self._outputs(self.network(self.normalise(pixels)), pixels.shape[-2:])
        return outputs if self.training else outputs.masks[0]

    def _outputs(self, given: Any, size: torch.Size) -> Outputs:
        if isinstance(given, Outputs):
            return given
        if isinstance(given, Tensor):
            # DynUNet stacks the outputs of its levels, others list theirs.
            given = given.unbind(1) if given.ndim == 5 else (given,)
        if isinstance(self.network, BasicUNetPlusPlus):
            given = given[::-1]
        if not all(
            isinstance(one, Tensor) and one.ndim == 4 and one.shape[1] == 1 for one in given
        ):
            raise DidgenError(
                f"{type(self.network).__name__} gives no masks with these arguments; it is no "
                "segmentation net, or has an argument for further outputs."
            )
        return Outputs(
            tuple(
                one if one.shape[-2:] == size else F.interpolate(one, size=size, mode="bilinear")
                for one in given
            )
        )


def find_segmenter_weights(network: Network) -> Weights:
    """The weights that a network is to start from, fetched from the hub where need be.

    A name that is not known, here or to smp or timm as an encoder, and what `fetch_weights`
    refuses, is a `DidgenError`.
    """
    encoder = _encoder(network)
    if encoder is None:
        return fetch_weights(network, None, "The hub")
    if encoder.startswith(TIMM):
        check_timm(encoder.removeprefix(TIMM))
        return fetch_weights(network, published(encoder.removeprefix(TIMM)), "timm")
    if encoder not in encoders:
        near = difflib.get_close_matches(encoder, encoders, n=1, cutoff=0)[0]
        raise DidgenError(
            f"smp has no encoder {encoder}; the nearest name is {near}, and timm's networks are "
            f"named with {TIMM} before them."
        )
    settings = encoders[encoder]["pretrained_settings"]
    which = "imagenet" if "imagenet" in settings else next(iter(settings))
    setting = settings[which]
    found = fetch_weights(network, Published(setting["repo_id"], setting["revision"]), "smp")
    if found.file is None or network.weights not in FETCHED:
        return found
    # smp's own encoders do not carry the form of their pixels; `Normalise` gives them ImageNet's.
    try:
        form = get_preprocessing_params(encoder, which)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError, KeyError) as error:
        if network.weights == "reachable":
            return Weights(None, f"{RANDOM}, since {setting['repo_id']} could not be reached")
        raise DidgenError(
            f"How pixels are given to the weights of {network.called} ({setting['repo_id']}) "
            f"cannot be fetched ({in_short(error)}); connect once, or give their file as `weights`."
        ) from None
    imagenet = {"mean": [*IMAGENET_DEFAULT_MEAN], "std": [*IMAGENET_DEFAULT_STD]}
    if form != imagenet | {"input_space": "RGB", "input_range": [0, 1]}:
        raise DidgenError(
            f"smp's weights of {encoder} take pixels in another form than ImageNet's; take timm's, "
            f"with {TIMM} before the name."
        )
    return found


def build_segmenter(network: Network, weights: Path | None) -> Segmenter:
    """A network by its name; its encoder, or else all of it, starts from `weights`, if any.

    Weights that do not fit and arguments that the network does not take are a `DidgenError`.
    """
    architecture, encoder = _class_of(network), _encoder(network)
    check_arguments(network)
    if network.arguments.get("activation") is not None:
        raise DidgenError(
            f"`arguments` of {network.called} cannot hold activation; the losses take logits."
        )
    try:
        if encoder is None:
            filled = {} if network.name in OWN else FILLED
            built = architecture(**filled, **network.arguments)
            if weights is not None:
                built.load_state_dict(load_file(weights))
        else:
            built = _build_on_encoder(architecture, network, encoder, weights)
            if weights is not None:
                check_taken(built.get_submodule("encoder"), weights)
        return Segmenter(built)
    except Exception as error:  # noqa: BLE001 - networks check their arguments each in its own way
        raise misfit(network, weights, error) from None


def _class_of(network: Network) -> type[nn.Module]:
    if network.name not in REGISTRY:
        lowered = {name.lower(): name for name in REGISTRY}
        near = difflib.get_close_matches(network.name.lower(), lowered, n=1, cutoff=0)[0]
        raise DidgenError(
            f"There is no segmentation net {network.name}; the nearest name is {lowered[near]}."
        )
    return REGISTRY[network.name]


def _encoder(network: Network) -> str | None:
    """The encoder that pretrained weights are for, by smp's name for it."""
    architecture = _class_of(network)
    if architecture is XBoundFormer:
        return TIMM + str(network.arguments.get("encoder", TRUNK))
    if not issubclass(architecture, SegmentationModel):
        return None
    default = inspect.signature(architecture).parameters["encoder_name"].default
    return str(network.arguments.get("encoder_name", default))


def _build_on_encoder(
    architecture: type[nn.Module], network: Network, encoder: str, weights: Path | None
) -> nn.Module:
    loading = overlay(weights) if weights is not None else {}
    if architecture is XBoundFormer:
        return architecture(
            loading=loading | {"pretrained": weights is not None}, **network.arguments
        )
    filled: dict[str, Any] = {"in_channels": 3, "classes": 1}
    if encoder.startswith(TIMM):
        # Of `encoder_weights`, timm's encoders read only whether they are to load any.
        filled["encoder_weights"] = True if weights is not None else None
        return architecture(**filled, **loading, **network.arguments)
    if unknown := network.arguments.keys() - inspect.signature(architecture).parameters.keys():
        # smp hands further arguments to timm's encoders, and drops them for its own.
        raise TypeError(f"unknown argument {min(unknown)}")
    built = architecture(**filled, encoder_weights=None, **network.arguments)
    if weights is not None:
        built.get_submodule("encoder").load_state_dict(load_file(weights))
    return built
