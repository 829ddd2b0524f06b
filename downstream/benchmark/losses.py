"""Losses of the benchmarks: those of the classifiers' arms, and those between masks."""

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses.dice import DiceCELoss, DiceFocalLoss, DiceLoss
from monai.losses.focal_loss import FocalLoss
from numpy.typing import NDArray
from torch import Tensor, nn

from didgen.downstream.benchmark.recipe import Arm, MaskLoss
from didgen.downstream.networks.segmenter_outputs import Outputs


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


def segmentation_loss(kind: MaskLoss, auxiliary: float, boundary: float) -> nn.Module:
    """The loss of a segmentation net: `Outputs` and masks (B, 1, S, S) in {0, 1} give a scalar.

    That of the main output, plus `auxiliary` times the mean over the others (deep supervision),
    plus `boundary` times the mean over boundary maps. All by MONAI, in float32, Dice and Jaccard
    of each image and then their mean.
    """
    return Masks(
        {
            "dice-bce": DiceCELoss(sigmoid=True),
            "dice": DiceLoss(sigmoid=True),
            "bce": nn.BCEWithLogitsLoss(),
            "focal-dice": DiceFocalLoss(sigmoid=True),
            "jaccard": DiceLoss(sigmoid=True, jaccard=True),
        }[kind],
        auxiliary,
        boundary,
    )


class Masks(nn.Module):
    """A loss between logits and masks, over all outputs of a segmentation net."""

    def __init__(self, loss: nn.Module, auxiliary: float, boundary: float) -> None:
        super().__init__()
        self.loss, self.auxiliary, self.boundary = loss, auxiliary, boundary

    def forward(self, outputs: Outputs, masks: Tensor) -> Tensor:
        main, *others = (self.loss(logits.float(), masks) for logits in outputs.masks)
        edges = boundary_map(masks)
        bounds = [
            # A cell of a coarse map is boundary where one of its pixels is.
            self.loss(logits.float(), F.adaptive_max_pool2d(edges, logits.shape[-2:]))
            for logits in outputs.boundaries
        ]
        for weight, terms in ((self.auxiliary, others), (self.boundary, bounds)):
            if terms:
                main = main + weight * torch.stack(terms).mean()
        return main


def boundary_map(masks: Tensor) -> Tensor:
    """The morphological gradient of masks, (B, 1, S, S) in {0, 1}: dilation less erosion, 3 x 3.

    It is 1 where a pixel's neighbourhood holds lesion and skin; beyond the image is neither.
    """
    dilated, eroded = (F.max_pool2d(part, 3, stride=1, padding=1) for part in (masks, -masks))
    return dilated + eroded
