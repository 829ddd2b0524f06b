"""Tests of classifiers: the contract, the weights a recipe names, and their faults."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from didgen.downstream.networks.classifiers import build_classifier, find_weights
from didgen.downstream.networks.weights import Weights
from didgen.manifests.errors import DidgenError
from tests.contracts.network import ClassifierContract
from tests.fixtures.networks import classifier


def test_a_file_gives_all_weights_but_the_heads(timm_weights: Path) -> None:
    named = classifier(weights=str(timm_weights))
    assert find_weights(named) == Weights(timm_weights, "weights of model.safetensors")
    state = build_classifier(named, 3, timm_weights).network.state_dict()
    theirs = load_file(timm_weights)
    differing = {name for name, part in theirs.items() if not torch.equal(part, state[name])}
    assert differing == {"classifier.weight", "classifier.bias"}
    assert state["classifier.weight"].shape[0] == 3


class TestEfficientNet(ClassifierContract):
    name = "test_efficientnet"


class TestViT(ClassifierContract):
    name = "test_vit"
    arguments: ClassVar = {"img_size": 32}


class TestDistilledDeiT(ClassifierContract):
    """Two heads in a tuple."""

    name = "deit_tiny_distilled_patch16_224"
    arguments: ClassVar = {"img_size": 32, "depth": 1}


class TestLeViT(ClassifierContract):
    """A normalised head."""

    name = "levit_128s"
    side = 224


class TestRepViT(ClassifierContract):
    """Two normalised heads in one module."""

    name = "repvit_m0_9"
    side = 224


class TestDLA(ClassifierContract):
    """A head that is a convolution."""

    name = "dla46_c"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "densenet12"}, "timm has no network densenet12; the nearest name is densenet121"),
        ({"weights": "weights.pth"}, "weights.pth is no safetensors file"),
        ({"weights": "gone.safetensors"}, "gone.safetensors does not exist"),
        ({"name": "vovnet39a", "weights": "pretrained"}, "no pretrained weights"),
    ],
)
def test_weights_that_cannot_be_had_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DidgenError, match=sentence):
        find_weights(classifier(**fields))


@pytest.mark.parametrize("arguments", [{"depht": 3}, {"num_classes": 4}])
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(DidgenError, match="cannot be built with the arguments") as caught:
        build_classifier(classifier(arguments=arguments), 3, None)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(timm_weights: Path) -> None:
    with pytest.raises(DidgenError, match=r"and weights .*model.safetensors .*correct them"):
        build_classifier(classifier(name="test_resnet"), 3, timm_weights)


def test_a_torn_file_is_refused(timm_weights: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(timm_weights.read_bytes()[:1000])
    with pytest.raises(DidgenError, match="cannot be built"):
        build_classifier(classifier(), 3, torn)
