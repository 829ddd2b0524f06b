"""Observers: pretrained networks of timm that look at images in a loss, and stay as they are."""

from typing import Any

import timm
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from torch import Tensor, nn, tensor

from manifests.errors import DidgenError
from manifests.recipe import Observer as Asked


class Observer(nn.Module):
    """A fixed network of timm over images (B, 3, H, W) in [-1, 1], always in evaluation mode.

    Before the network sees them, images are averaged down by `downsample` and normalised as its
    weights were trained. What forward returns is the network's. `weight` is that of its loss.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, asked: Asked, field: str, part: str, **arguments: Any) -> None:
        """`arguments` choose the `part` of the network, so named in the DidgenError for a file at
        `field` of the recipe that does not fit."""
        super().__init__()
        self.network = _build(asked, field, part, arguments).requires_grad_(False)
        self.downsample, self.weight = asked.downsample, asked.weight
        config = resolve_model_data_config(self.network)
        for name, values in (("mean", config["mean"]), ("deviation", config["std"])):
            self.register_buffer(name, tensor(values)[:, None, None], persistent=False)
        self.train(False)

    def train(self, mode: bool = True) -> "Observer":
        """Batch normalisation that learned from the images would move what is compared."""
        return super().train(False)

    def observe(self, images: Tensor) -> Any:
        smaller = F.avg_pool2d(images, self.downsample)
        return self.network((smaller / 2 + 0.5 - self.mean) / self.deviation)


def _build(asked: Asked, field: str, part: str, arguments: dict[str, Any]) -> nn.Module:
    """A part of a network with the weights of a file; DidgenError for what does not fit."""
    if not timm.is_model(asked.network):
        raise DidgenError(f"timm has no network {asked.network}; correct `{field}.network`.")
    if asked.weights.suffix != ".safetensors" or not asked.weights.is_file():
        raise DidgenError(
            f"{asked.weights} is no safetensors file that is there; correct `{field}.weights`."
        )
    try:
        network = timm.create_model(asked.network, pretrained=False, **arguments)
        # The file has the whole network, of which this may be the first part.
        missing = network.load_state_dict(load_file(asked.weights), strict=False).missing_keys
        if missing:
            raise ValueError(f"it lacks {missing[0]}")
    except (SafetensorError, RuntimeError, ValueError, IndexError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DidgenError(
            f"{asked.weights} does not fit {part} of {asked.network} ({reason}); name this "
            f"network's weights in `{field}.weights`."
        ) from None
    return network
