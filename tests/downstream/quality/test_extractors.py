"""Tests of extractors: names, weights, faults, and the eight ways that a square can lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_model_data_config

from didgen.downstream.quality.extractors import batches, find_extractor, orientations
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of


@pytest.fixture(autouse=True)
def offline(no_hub: None) -> None:
    """No test reaches a hub."""


def some(count: int = 2, side: int = 160) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of a small network, head included."""
    torch.manual_seed(1)
    path = tmp_path / "small.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), path)
    return path


def test_a_network_of_timm_gives_its_features_before_the_head(weights: Path) -> None:
    extractor = find_extractor("timm:test_efficientnet", str(weights))
    network: Any = timm.create_model("test_efficientnet", checkpoint_path=str(weights)).eval()
    config = resolve_model_data_config(network)
    mean, deviation = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        scaled = (some() / 255 - mean) / deviation
        oracle = network.forward_head(network.forward_features(scaled), pre_logits=True)
    assert np.allclose(extractor(some()), oracle.numpy(), atol=1e-5)
    assert (extractor.dimension, extractor.side) == (256, 160)
    assert extractor.sha256 == sha256_of(weights)
    assert extractor.weights == "weights of small.safetensors"


def test_a_stage_is_averaged_over_the_image(weights: Path) -> None:
    extractor = find_extractor("timm:test_efficientnet/2", str(weights))
    whole: Any = find_extractor("timm:test_efficientnet", str(weights))
    network = whole.network.network
    with torch.no_grad():
        scaled = whole.network.normalise(some())
        (maps,) = network.forward_intermediates(scaled, indices=[2], intermediates_only=True)
    assert np.allclose(extractor(some()), maps.mean((2, 3)).numpy(), atol=1e-5)
    assert extractor.dimension == maps.shape[1] < whole.dimension


def test_random_weights_are_the_same_again() -> None:
    one, other = (find_extractor("timm:test_efficientnet", "none")(some()) for _ in range(2))
    assert np.array_equal(one, other)
    assert find_extractor("timm:test_efficientnet", "none").sha256 is None


def test_a_network_that_takes_one_size_refuses_others() -> None:
    extractor = find_extractor("timm:test_vit", "none")
    extractor.check_side(160)
    with pytest.raises(DidgenError, match="timm:test_vit takes images of 160 px and no others"):
        extractor.check_side(128)
    find_extractor("timm:test_efficientnet", "none").check_side(32)


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("resnet", "none", "no extractor resnet; give inception, or timm:NAME"),
        ("timm:", "none", "no extractor timm:; give inception"),
        ("timm:resnet51q9", "none", "timm has no network resnet51q9; the nearest name is"),
        ("timm:test_vit/first", "none", "names no stage; after the / stands its number"),
        ("timm:test_efficientnet/99", "none", "cannot be built with the arguments"),
        ("timm:test_vit", "missing.safetensors", "missing.safetensors does not exist"),
        ("timm:test_vit", "weights.pth", "is no safetensors file"),
        ("timm:test_vit", "pretrained", "cannot be fetched"),
        ("inception", "pretrained", "run `didgen weights inception"),
        ("inception", "weights.pth", "give weights/inception.safetensors as --weights"),
        ("inception/100", "none", "names no layer; there are 64, 192, 768, 2048"),
    ],
)
def test_what_is_not_at_hand_is_one_sentence(name: str, weights: str, sentence: str) -> None:
    with pytest.raises(DidgenError, match=sentence) as caught:
        find_extractor(name, weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["inception", "timm:test_vit"])
def test_broken_or_foreign_weights_are_one_sentence(
    name: str, tmp_path: Path, weights: Path
) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(weights.read_bytes()[:500])
    for path in (torn, weights):
        with pytest.raises(DidgenError, match=str(path)) as caught:
            find_extractor(name, str(path))
        assert "\n" not in str(caught.value)


def test_orientations_are_eight_and_closed_under_turning_and_mirroring() -> None:
    pixels = some(2, 6)
    views = orientations(pixels)
    assert torch.equal(views[0], pixels)

    def one(views: list[torch.Tensor]) -> set[bytes]:
        return {view[1].numpy().tobytes() for view in views}

    assert len(one(views)) == 8
    for changed in (pixels.flip(-1), pixels.rot90(1, (-2, -1)), pixels.transpose(-1, -2)):
        assert one(orientations(changed)) == one(views)


def test_batches_hold_every_image_once() -> None:
    pixels = some(7, 4).numpy()
    parts = list(batches(iter(pixels), 3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert np.array_equal(np.concatenate([part.numpy() for part in parts]), pixels)
