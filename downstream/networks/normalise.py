"""Normalising: pixels as networks take them."""

from typing import Any

import torch
from timm.data import resolve_data_config
from torch import Tensor, nn

from didgen.manifests.errors import DidgenError, in_short


class Normalise(nn.Module):
    """8-bit pixels as weights were trained with: (B, 3, S, S) uint8 to float32, channels last.

    Mean and deviation are those of the first part of `network` that has a configuration of timm,
    or else ImageNet's. They are no part of the state dict.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        trunks = (part for part in network.modules() if hasattr(part, "pretrained_cfg"))
        config = resolve_data_config(model=next(trunks, network))
        for name, values in (("mean", config["mean"]), ("deviation", config["std"])):
            shaped = torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, shaped, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = (pixels / 255 - self.mean) / self.deviation
        return scaled.contiguous(memory_format=torch.channels_last)


def trial(network: nn.Module, called: str, size: int) -> Any:
    """What a network of 8-bit pixels gives for a black image of `size` pixels a side.

    One that cannot take it is a `DidgenError`, in which it is `called` so.
    """
    training = network.training
    try:
        with torch.no_grad():
            return network.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    except DidgenError:
        raise
    except Exception as error:  # noqa: BLE001 - networks check their input each in its own way
        raise DidgenError(
            f"{called} cannot take images of {size} px ({in_short(error)}); set another "
            "`image_size`."
        ) from None
    finally:
        network.train(training)
