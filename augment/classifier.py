"""Class loss: whether a classifier of real images names the class that an image was made for."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from augment.observer import Observer
from manifests.recipe import Classifier


class ClassLoss(Observer):
    """The auxiliary classifier's loss of Odena et al. (ICML 2017), by a classifier that is fixed.

    forward takes images (B, 3, H, W) in [-1, 1] and the classes they were made for, and returns
    the cross-entropy of each, (B,), at least 0; 0 where the classifier knows no such class.
    """

    def __init__(self, asked: Classifier) -> None:
        count = len(asked.classes)
        super().__init__(asked, "classifier", f"a head of {count} classes", num_classes=count)
        self.classes = asked.classes

    def forward(self, images: Tensor, labels: Sequence[str]) -> Tensor:
        known = {label: place for place, label in enumerate(self.classes)}
        places = torch.tensor([known.get(label, -1) for label in labels], device=images.device)
        logits = self.observe(images).float()
        return F.cross_entropy(logits, places, reduction="none", ignore_index=-1)
