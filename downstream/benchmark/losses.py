"""Losses of the benchmarks: those of the classifiers' arms, and those between masks."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from monai.losses.dice import DiceCELoss, DiceFocalLoss, DiceLoss
from monai.losses.focal_loss import FocalLoss
from torch import Tensor, nn

from didgen.downstream.benchmark.recipe import MaskLoss
from didgen.downstream.networks.segmenter_outputs import Outputs

Batch = Mapping[str, Tensor]


class ClassLoss(nn.Module):
    """Cross-entropy or focal loss of a batch: the mean over its images, weighted where they are.

    gamma: of focal loss (Lin et al., ICCV 2017), -(1 - p)^gamma ln p; None for cross-entropy. An
    image with an `other_label` has both labels in its proportion, as mixup asks.
    """

    def __init__(self, gamma: float | None = None) -> None:
        super().__init__()
        # MONAI's own mean runs over classes too, which would make the loss C times smaller.
        self.focal = (
            None
            if gamma is None
            else FocalLoss(to_onehot_y=True, use_softmax=True, gamma=gamma, reduction="none")
        )

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        losses = self._of(logits, batch["label"])
        if "other_label" in batch:
            share = batch["other_share"]
            losses = (1 - share) * losses + share * self._of(logits, batch["other_label"])
        weights = batch.get("weight")
        return losses.mean() if weights is None else (weights * losses).sum() / weights.sum()

    def _of(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.focal is None:
            return F.cross_entropy(logits, labels, reduction="none")
        return self.focal(logits, labels[:, None]).sum(1)


class PairLoss(nn.Module):
    """A loss between masks of a batch: its mean over images, weighted where they are."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        masks, weights = batch["mask"].float(), batch.get("weight")
        if weights is None:
            return self.loss(outputs, masks)
        # Each loss is a mean over images, so that one image at a time gives its terms.
        losses = [
            self.loss(
                Outputs(*(tuple(part[n : n + 1] for part in parts) for parts in outputs)),
                masks[n : n + 1],
            )
            for n in range(len(masks))
        ]
        return (weights * torch.stack(losses)).sum() / weights.sum()


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
