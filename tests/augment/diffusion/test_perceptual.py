"""Tests of the perceptual distance: its formula, what stays fixed, and files that do not fit."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.small_model import Perceptual


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_it_is_the_formula_by_loops(perceptual: Perceptual, images: Tensor) -> None:
    network = timm.create_model(perceptual.network, features_only=True, out_indices=(0, 1)).eval()
    whole: Any = timm.create_model(perceptual.network)
    mean, deviation = (whole.pretrained_cfg[name] for name in ("mean", "std"))
    distance = PerceptualDistance(perceptual)
    network.load_state_dict(distance.network.state_dict())
    one, other = images, images.flip(0)
    expected = torch.zeros(len(images))
    with torch.no_grad():
        colours = [
            torch.stack([(batch[:, c] / 2 + 0.5 - mean[c]) / deviation[c] for c in range(3)], 1)
            for batch in (one, other)
        ]
        stages = zip(*(network(batch) for batch in colours), strict=True)
        for left, right in stages:
            rows, columns = left.shape[-2:]
            for sample in range(len(images)):
                for row in range(rows):
                    for column in range(columns):
                        a, b = left[sample, :, row, column], right[sample, :, row, column]
                        unit = a / a.norm().clamp_min(1e-3) - b / b.norm().clamp_min(1e-3)
                        expected[sample] += (unit @ unit) / (rows * columns)
        found = distance(one, other)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_it_is_zero_for_the_same_symmetric_and_within_its_range(
    perceptual: Perceptual, images: Tensor
) -> None:
    distance = PerceptualDistance(perceptual)
    assert distance(images, images).abs().max() == 0
    there, back = distance(images, images.flip(0)), distance(images.flip(0), images)
    torch.testing.assert_close(there, back)
    assert (there[[0, 2]] > 0).all()
    assert (there <= 4 * len(perceptual.stages)).all()


def test_averaging_down_comes_first(perceptual: Perceptual, images: Tensor) -> None:
    halves = PerceptualDistance(perceptual.model_copy(update={"downsample": 2}))
    whole = PerceptualDistance(perceptual)
    whole.load_state_dict(halves.state_dict())
    other = images.flip(0)
    averages = [
        torch.stack([batch[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)]).mean(0)
        for batch in (images, other)
    ]
    torch.testing.assert_close(halves(images, other), whole(*averages))
    # Detail that averages out is not seen.
    board = torch.ones(64, 64)
    board[::2, 1::2] = board[1::2, ::2] = -1
    speckled = images * 0.5 + 0.25 * board
    assert halves(images * 0.5, speckled).max() < 1e-6
    assert whole(images * 0.5, speckled).min() > 1e-3


def test_training_reaches_the_images_and_nothing_of_the_network(
    perceptual: Perceptual, images: Tensor
) -> None:
    distance = PerceptualDistance(perceptual).train()
    before = {name: value.clone() for name, value in distance.state_dict().items()}
    moved = images.clone().requires_grad_()
    distance(moved, images.flip(0)).sum().backward()
    assert moved.grad is not None
    assert moved.grad.abs().max() > 0
    assert not any(part.requires_grad for part in distance.parameters())
    for name, value in distance.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_does_not_fit_is_told_in_a_sentence(perceptual: Perceptual, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, other)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(perceptual.weights.read_bytes()[:5000])
    pickled = tmp_path / "weights.pth"
    pickled.write_bytes(b"")
    for changed, said in (
        ({"network": "mobilenet_v99"}, "timm has no network mobilenet_v99"),
        ({"network": "resnet18"}, "does not fit the stages 0, 1 of resnet18"),
        ({"stages": (0, 9)}, "does not fit the stages 0, 9"),
        ({"weights": other}, "other.safetensors does not fit"),
        ({"weights": torn}, "torn.safetensors does not fit"),
        ({"weights": pickled}, "weights.pth is no safetensors file"),
        ({"weights": tmp_path / "none.safetensors"}, "none.safetensors is no safetensors file"),
    ):
        with pytest.raises(DidgenError, match=said):
            PerceptualDistance(perceptual.model_copy(update=changed))
