"""Losses of the benchmarks: those of the arms that weigh classes or images."""

import numpy as np
import torch
from monai.losses.focal_loss import FocalLoss
from numpy.typing import NDArray
from torch import Tensor, nn

from downstream.recipe import Arm


def classification_loss(
    arm: Arm, labels: NDArray[np.int64], classes: int, gamma: float
) -> nn.Module:
    """The loss of an arm: logits (B, C) and labels (B,) give a scalar.

    Cross-entropy; weighted by N / (C n_c) where classes are; focal loss as its mean over images.
    """
    if arm == "class-weighted":
        sizes = np.bincount(labels, minlength=classes)
        return nn.CrossEntropyLoss(torch.from_numpy(len(labels) / (classes * sizes)).float())
    return Focal(gamma) if arm == "focal" else nn.CrossEntropyLoss()


class Focal(nn.Module):
    """Focal loss (Lin et al., ICCV 2017) by MONAI: -(1 - p)^gamma ln p of the true class, mean."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        # MONAI's own mean runs over classes too, which would make the loss C times smaller.
        self.loss = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=gamma, reduction="none")

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.loss(logits, labels[:, None]).sum(1).mean()
