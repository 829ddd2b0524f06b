"""Weights that networks start from: safetensors files at hand, or those of the hub."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor, nn

from didgen.downstream.networks.network import Network
from didgen.manifests.errors import DidgenError, in_short

WEIGHTS = "model.safetensors"
"""The file that is taken from the hub: other files there are pickled."""

RANDOM = "random weights, no pretraining"

LOADING = frozenset(
    {"checkpoint_path", "encoder_weights", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}
)
"""Arguments by which libraries load weights themselves, from pickled files too."""

# It warns at length of the head's weights, which are left out on purpose; see `check_taken`.
logging.getLogger("timm.models._builder").setLevel(logging.ERROR)


FETCHED = ("pretrained", "reachable")
"""What `weights` of a network says where the hub is asked."""


@dataclass(frozen=True)
class Weights:
    """What a network starts from: a safetensors file, or None for random weights; in words too."""

    file: Path | None
    said: str


@dataclass(frozen=True)
class Published:
    """A repository of the hub that has weights, and its revision; the newest where it is None."""

    repository: str
    revision: str | None = None


def fetch_weights(network: Network, published: Published | None, maker: str) -> Weights:
    """The weights that a network asks for, where `published` has those called `pretrained`.

    A file that is not there or no safetensors, weights that `maker` (a library, say) has none of
    and a hub that does not answer are each a `DidgenError`.
    """
    if network.weights == "none":
        return Weights(None, RANDOM)
    if network.weights not in FETCHED:
        path = Path(network.weights)
        if path.suffix != ".safetensors":
            raise DidgenError(
                f"{path} is no safetensors file, and didgen opens no other weights; "
                "give `pretrained`, `none` or such a file."
            )
        if not path.is_file():
            raise DidgenError(f"{path} does not exist; correct `weights` of {network.called}.")
        return Weights(path, f"weights of {path.name}")
    if published is None:
        raise DidgenError(
            f"{maker} has no pretrained weights of {network.name}; give `weights` none or a file."
        )
    try:
        file = Path(hf_hub_download(published.repository, WEIGHTS, revision=published.revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        if network.weights == "reachable":
            return Weights(None, f"{RANDOM}, since {published.repository} could not be reached")
        raise DidgenError(
            f"The weights of {network.called} ({published.repository}) cannot be fetched "
            f"({in_short(error)}); fetch them elsewhere and give the file as `weights`, or set it "
            "to none."
        ) from None
    return Weights(file, f"weights of {published.repository}")


def check_arguments(network: Network) -> None:
    """Refuse arguments that would have a library load weights past `fetch_weights`."""
    if loading := LOADING & network.arguments.keys():
        raise DidgenError(
            f"`arguments` of {network.called} cannot hold {min(loading)}; what it starts from is "
            "said by `weights`."
        )


def misfit(network: Network, weights: Path | None, error: Exception) -> DidgenError:
    """What is said where a network cannot be built."""
    what = f"arguments {network.arguments}" + (f" and weights {weights}" if weights else "")
    return DidgenError(
        f"{network.called} cannot be built with the {what} ({in_short(error)}); correct them."
    )


def overlay(weights: Path) -> dict[str, Any]:
    """The argument of timm that makes a file its pretrained weights."""
    return {"pretrained_cfg_overlay": {"file": str(weights)}}


def check_taken(network: nn.Module, weights: Path) -> None:
    """Raise ValueError unless most matrices of a network are those of a file.

    timm skips the weights whose names it does not know, so that a file of another network can
    leave one random.
    """
    theirs = {_trace(tensor) for tensor in load_file(weights).values()}
    matrices = [part for part in network.parameters() if part.ndim > 1]
    taken = sum(_trace(part) in theirs for part in matrices)
    if taken <= len(matrices) / 2:
        raise ValueError(f"the file has {taken} of the network's {len(matrices)} matrices")


def _trace(tensor: Tensor) -> tuple[int, float]:
    return tensor.numel(), tensor.detach().double().sum().item()
