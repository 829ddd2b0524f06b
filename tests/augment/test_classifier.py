"""Tests of the class loss: its formula, labels unknown to it, and files that do not fit."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from augment.classifier import ClassLoss
from manifests.errors import DidgenError
from manifests.recipe import Classifier


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_it_is_the_formula_by_loops_and_zero_where_no_class_is_known(
    classifier: Classifier, images: Tensor
) -> None:
    network = timm.create_model(classifier.network, num_classes=2).eval()
    network.load_state_dict(load_file(classifier.weights))
    mean, deviation = (network.pretrained_cfg[name] for name in ("mean", "std"))
    loss = ClassLoss(classifier.model_copy(update={"downsample": 2}))
    labels = ["MEL", "", "NV", "DF"]
    with torch.no_grad():
        found = loss(images, labels)
        for place, (image, label) in enumerate(zip(images, labels, strict=True)):
            small = image.reshape(3, 32, 2, 32, 2).mean((2, 4)) / 2 + 0.5
            colours = [(small[c] - mean[c]) / deviation[c] for c in range(3)]
            chances = network(torch.stack(colours)[None])[0].softmax(0)
            known = {"NV": -chances[0].log(), "MEL": -chances[1].log()}
            expected = known.get(label, torch.zeros(()))
            torch.testing.assert_close(found[place], expected, rtol=1e-4, atol=1e-5)
    assert (found[[0, 2]] > 0).all()


def test_its_gradient_leads_images_to_their_class(classifier: Classifier, images: Tensor) -> None:
    loss = ClassLoss(classifier).train()
    moved = images.clone().requires_grad_()
    before = loss(moved, ["MEL"] * 4)
    (gradient,) = torch.autograd.grad(before.sum(), moved)
    step = 0.05 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    assert (loss(images - step, ["MEL"] * 4) < before).all()
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_what_does_not_fit_is_told_in_a_sentence(classifier: Classifier, tmp_path: Path) -> None:
    features = tmp_path / "features.safetensors"
    kept = {k: v for k, v in load_file(classifier.weights).items() if not k.startswith("fc.")}
    save_file(kept, features)
    for changed, said in (
        ({"classes": ("NV", "MEL", "DF")}, "does not fit a head of 3 classes of resnet10t"),
        ({"network": "resnet18"}, "does not fit a head of 2 classes of resnet18"),
        ({"weights": features}, r"it lacks fc\.weight.*`classifier\.weights`"),
        ({"weights": tmp_path / "none.safetensors"}, r"correct `classifier\.weights`"),
    ):
        with pytest.raises(DidgenError, match=said):
            ClassLoss(classifier.model_copy(update=changed))
