"""Fixtures of the segmentation nets: eight real lesions, and a training that is to fit them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from didgen.downstream.benchmark.losses import segmentation_loss
from didgen.downstream.metrics.segmentation import overlaps
from didgen.downstream.networks.segmenter_outputs import Outputs

SIDE = 64


@pytest.fixture
def learned_dice(data_dir: Path) -> Callable[[nn.Module, float], float]:
    """Mean Dice over eight real lesions after 40 steps on them; the network takes floats."""
    root = data_dir / "isic2018"
    files = sorted((root / "ISIC2018_Task1_Training_GroundTruth").glob("*.png"))[:8]
    inputs = root / "ISIC2018_Task1-2_Training_Input"
    photos = [inputs / f"{file.stem.removesuffix('_segmentation')}.jpg" for file in files]
    images = torch.stack([torch.from_numpy(small(one, "RGB")).permute(2, 0, 1) for one in photos])
    masks = np.stack([small(one, "L") > 127 for one in files])

    def learn(network: nn.Module, rate: float) -> float:
        pixels = (images / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        truth = torch.from_numpy(masks)[:, None].float()
        loss = segmentation_loss("dice-bce", auxiliary=0.4, boundary=0.4)
        network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), rate)
        for _ in range(40):
            given = network.train()(pixels)
            outputs = given if isinstance(given, Outputs) else Outputs((given,))
            optimizer.zero_grad()
            loss(outputs, truth).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        with torch.no_grad():
            found = network.eval()(pixels)[:, 0] > 0
        return float(overlaps(found.numpy(), masks).dice.mean())

    return learn


def small(path: Path, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert(mode).resize((SIDE, SIDE), Image.Resampling.BOX))


@pytest.fixture
def unreached() -> Callable[[nn.Module, Outputs], list[str]]:
    """Names of the parameters to which a loss over all outputs gives no gradient."""

    def names(network: nn.Module, outputs: Outputs) -> list[str]:
        masks = (torch.rand(outputs.masks[0].shape) > 0.5).float()
        segmentation_loss("dice-bce", auxiliary=0.4, boundary=0.4)(outputs, masks).backward()
        return [
            name
            for name, part in network.named_parameters()
            if part.grad is None or not part.grad.isfinite().all() or not part.grad.any()
        ]

    return names
