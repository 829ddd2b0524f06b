"""Extractors: networks that turn images into vectors, by name, with the hash of their weights.

Names: `inception` is the network of the FID (Heusel et al. 2017) as torch-fidelity ports it, 2048
features; `inception/768` an earlier layer of it. `timm:NAME` is any network of timm, its features
before the head; `timm:NAME/4` the fifth of its stages, averaged over the image. Earlier layers
have fewer features, which fewer images suffice for.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from torch import Tensor, nn
from torchmetrics.image.fid import NoTrainInceptionV3

from didgen.downstream.networks.classifiers import Classifier, build_classifier, find_weights
from didgen.downstream.networks.network import Network
from didgen.downstream.networks.weights import Weights
from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.files import sha256_of

INCEPTION_LAYERS = ("64", "192", "768", "2048")
INCEPTION_SIDE = 299
BATCH = 32


@dataclass(frozen=True)
class Extractor:
    """A network from (B, 3, S, S) uint8 to features (B, D), and what a figure says of it.

    side: that of the images which it was trained on; fixed: whether it takes no others. sha256:
    of its weights' file, or None for random ones.
    """

    name: str
    network: nn.Module
    weights: str
    sha256: str | None
    dimension: int
    side: int
    fixed: bool = False

    def check_side(self, size: int) -> None:
        """Raise a `DidgenError` for a side of images that the network does not take."""
        if self.fixed and size != self.side:
            raise DidgenError(
                f"{self.name} takes images of {self.side} px and no others; leave the size out."
            )

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> NDArray[np.float32]:
        """Features (B, D) of images (B, 3, S, S) uint8."""
        device = next(self.network.parameters()).device
        return self.network(pixels.to(device)).float().cpu().numpy()


def find_extractor(name: str, weights: str) -> Extractor:
    """The extractor of a name, on the GPU where there is one.

    weights: for timm as in `classifiers.find_weights`: `pretrained`, `reachable`, `none` or a
    safetensors file; for Inception such a file. Random weights are those of one seed. Raises
    DidgenError for a name, a layer or weights that are not there or do not fit.
    """
    kind, _, model = name.partition(":")
    if kind == "timm" and model:
        extractor = _timm(name, model, weights)
    elif name.partition("/")[0] == "inception":
        extractor = _inception(name, weights)
    else:
        raise DidgenError(
            f"There is no extractor {name}; give inception, or timm:NAME with a network of timm."
        )
    extractor.network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return extractor


class StageMean(nn.Module):
    """A stage of a network of timm, averaged over the image: (B, 3, S, S) uint8 to (B, D)."""

    def __init__(self, stages: Classifier, dimension: int) -> None:
        super().__init__()
        self.stages, self.dimension = stages, dimension

    def forward(self, pixels: Tensor) -> Tensor:
        (maps,) = self.stages(pixels)
        # Some networks have their channels last.
        return maps.mean((2, 3) if maps.shape[1] == self.dimension else (1, 2))


def _timm(name: str, model: str, weights: str) -> Extractor:
    model, _, stage = model.partition("/")
    found = find_weights(Network(name=model, weights=weights))
    arguments: dict[str, Any] = {}
    if stage:
        arguments = {"features_only": True, "out_indices": [_whole(name, stage)]}
    asked = Network(name=model, arguments=arguments)
    extractor = _seeded(name, asked, found, 0)
    if found.file is not None:
        # timm takes what fits of a file, and leaves the rest as it was drawn by its seed.
        count = 3 * extractor.side**2
        probe = torch.arange(count).view(1, 3, extractor.side, extractor.side).to(torch.uint8)
        if not np.array_equal(extractor(probe), _seeded(name, asked, found, 1)(probe)):
            raise DidgenError(
                f"{found.file} does not hold all weights of {model}; give those of this network."
            )
    return extractor


def _seeded(name: str, asked: Network, found: Weights, seed: int) -> Extractor:
    """The extractor with what its file does not give drawn by a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build_classifier(asked, 0, found.file)
    config: Any = built.network.pretrained_cfg
    side = resolve_model_data_config(built.network)["input_size"][-1]
    network: nn.Module = built
    if asked.arguments:
        info: Any = built.network.feature_info
        network = StageMean(built, info.channels()[-1])
    return _extractor(name, network, found, side, bool(config.get("fixed_input_size")))


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise DidgenError(f"{name} names no stage; after the / stands its number, from 0.")
    return int(text)


def _inception(name: str, weights: str) -> Extractor:
    layer = name.partition("/")[2] or INCEPTION_LAYERS[-1]
    if layer not in INCEPTION_LAYERS:
        raise DidgenError(f"{name} names no layer; there are {', '.join(INCEPTION_LAYERS)}.")
    path = Path(weights)
    if path.suffix != ".safetensors" or not path.is_file():
        raise DidgenError(
            "Inception's weights are published as a pickled file, which didgen does not open; "
            "where the network is reachable, run `didgen weights inception`, and give "
            "weights/inception.safetensors as --weights."
        )
    # The library takes a file of torch and nothing else; this one was tensors a moment ago.
    buffer = io.BytesIO()
    try:
        torch.save(load_file(path), buffer)
        buffer.seek(0)
        network = NoTrainInceptionV3("inception-v3-compat", [layer], buffer)  # type: ignore[arg-type]
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = in_short(error)
        raise DidgenError(f"{path} holds no weights of Inception ({reason}).") from None
    # At another size the library would scale once more, by a filter of its own.
    return _extractor(name, network, Weights(path, f"weights of {path.name}"), INCEPTION_SIDE, True)


def _extractor(
    name: str, network: nn.Module, weights: Weights, side: int, fixed: bool = False
) -> Extractor:
    network.eval()
    with torch.inference_mode():
        dimension = network(torch.zeros((1, 3, side, side), dtype=torch.uint8)).shape[-1]
    sha256 = sha256_of(weights.file) if weights.file else None
    return Extractor(name, network, weights.said, sha256, dimension, side, fixed)


def batches(squares: Iterable[NDArray[np.uint8]], size: int = BATCH) -> Iterator[Tensor]:
    """Images (3, S, S) in batches (B, 3, S, S)."""
    waiting = iter(squares)
    while part := list(islice(waiting, size)):
        yield torch.from_numpy(np.stack(part))


def orientations(pixels: Tensor) -> list[Tensor]:
    """Images (B, 3, S, S) in the eight ways that a square can lie, first as they are."""
    return [
        torch.rot90(side, turns, (-2, -1))
        for side in (pixels, pixels.flip(-1))
        for turns in range(4)
    ]
