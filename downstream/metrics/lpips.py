"""Perceptual distance: LPIPS (Zhang et al. 2018) by torchmetrics, with weights from a file."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS

from didgen.manifests.errors import DidgenError, in_short

ABSENT = (
    "left out: its weights are published as a pickled file, which didgen does not open; where the "
    "network is reachable, `didgen weights lpips` makes the file for --lpips"
)


def build_lpips() -> nn.Module:
    """LPIPS on AlexNet with random weights; torchmetrics' public class would fetch pickled ones."""
    return _LPIPS(pretrained=False, net="alex", pnet_rand=True)


def load_lpips(path: Path) -> nn.Module:
    """LPIPS with the weights of a safetensors file, on the GPU where there is one.

    A file that is not there, is no safetensors or holds other weights is a `DidgenError`.
    """
    network = build_lpips()
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = in_short(error)
        raise DidgenError(f"{path} holds no weights of LPIPS ({reason}).") from None
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


@torch.inference_mode()
def lpips(network: nn.Module, one: Tensor, other: Tensor, batch: int = 16) -> NDArray[np.float64]:
    """LPIPS of each pair of images (N, 3, S, S) uint8; (N,), 0 for the same image."""
    device = next(network.parameters()).device
    parts = [
        network(left.to(device).float() / 255, right.to(device).float() / 255, normalize=True)
        for left, right in zip(one.split(batch), other.split(batch), strict=True)
    ]
    return torch.cat(parts).flatten().double().cpu().numpy()
