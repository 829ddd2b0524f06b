"""Tests of DCSAU-Net: the contract, its size, its blocks against loops, and that it learns."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from didgen.downstream.networks.dcsaunet import CompactSplitAttention, DCSAUNet, PrimaryFeatures
from tests.contracts.network import SegmenterContract


@pytest.fixture(scope="module")
def network() -> DCSAUNet:
    torch.manual_seed(0)
    return DCSAUNet().eval()


class TestDCSAUNet(SegmenterContract):
    name = "dcsaunet"


def test_it_has_the_papers_number_of_parameters(network: DCSAUNet) -> None:
    count = sum(part.numel() for part in network.parameters())
    assert count == pytest.approx(2.60e6, rel=0.03)


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (128, 128), (50, 70)])
def test_a_mask_is_as_large_as_its_image(network: DCSAUNet, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert network(torch.rand(1, 3, *size)).shape == (1, 1, *size)


def test_the_primary_block_sees_nine_pixels() -> None:
    torch.manual_seed(0)
    block = PrimaryFeatures(3, 8).eval()
    image = torch.rand(1, 3, 21, 21)
    touched = image.clone()
    touched[..., 10, 10] += 1
    with torch.no_grad():
        changed = (block(touched) - block(image)).abs().sum((0, 1)) > 0
    rows, columns = changed.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 14, 6, 14)


def test_split_attention_is_its_formula() -> None:
    torch.manual_seed(0)
    block = CompactSplitAttention(24, 64).eval()
    features = torch.rand(2, 24, 5, 5)
    with torch.no_grad():
        split = block.split(features)
        one = block.first(split[:, :16])
        two = block.second(one + split[:, 16:])
        mixed = torch.empty_like(one)
        for image in range(2):
            pooled = (one + two)[image].mean((1, 2)).view(1, 16, 1, 1)
            scores = block.attention[3](block.attention[2](block.attention[1](pooled)))[0, :, 0, 0]
            for channel in range(16):
                first, second = scores[channel].exp(), scores[16 + channel].exp()
                share = first / (first + second)
                mixed[image, channel] = (
                    share * one[image, channel] + (1 - share) * two[image, channel]
                )
        oracle = (block.join(mixed) + block.residual(features)).clamp_min(0)
        assert torch.allclose(block(features), oracle, atol=1e-6)


@pytest.mark.slow
@pytest.mark.data
def test_it_learns_a_small_set(learned_dice: Callable[[nn.Module, float], float]) -> None:
    torch.manual_seed(0)
    assert learned_dice(DCSAUNet(), 3e-3) > 0.95
