"""Pixels as networks take them."""

import torch
from timm.data import resolve_data_config
from torch import Tensor, nn


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
