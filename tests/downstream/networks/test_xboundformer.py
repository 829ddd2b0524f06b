"""Tests of XBound-Former: the contract, its size, its learners, and that it learns."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional

from didgen.downstream.networks.xboundformer import (
    CrossScaleLearner,
    ExplicitLearner,
    ImplicitLearner,
    XBoundFormer,
)
from tests.contracts.network import SegmenterContract

SMALL: dict[str, Any] = {"encoder": "pvt_v2_b0", "width": 32, "heads": 2, "embeddings": 4}


@pytest.fixture(scope="module")
def network() -> XBoundFormer:
    torch.manual_seed(0)
    return XBoundFormer()


@pytest.fixture
def small() -> XBoundFormer:
    torch.manual_seed(0)
    return XBoundFormer(**SMALL)


class TestXBoundFormer(SegmenterContract):
    name = "xboundformer"
    arguments: ClassVar = SMALL
    masks = 4
    boundaries = 3


def test_it_has_the_papers_number_of_parameters(network: XBoundFormer) -> None:
    def count(module: nn.Module) -> int:
        return sum(part.numel() for part in module.parameters())

    assert count(network.encoder) == pytest.approx(25e6, rel=0.03)
    assert count(network) == pytest.approx(30.6e6, rel=0.03)


@pytest.mark.parametrize("side", [64, 96, 128, 100])
def test_masks_are_as_large_as_their_images_and_boundaries_coarser(
    network: XBoundFormer, side: int
) -> None:
    images = torch.rand(1, 3, side, side)
    with torch.no_grad():
        outputs = network.train()(images)
        alone = network.eval()(images)
    assert [mask.shape for mask in outputs.masks] == [(1, 1, side, side)] * 4
    sides = [-(-side // scale) for scale in (8, 16, 32)]
    assert [bound.shape for bound in outputs.boundaries] == [(1, 1, one, one) for one in sides]
    # Nothing in it depends on the mode but how many outputs it gives.
    assert torch.allclose(alone, outputs.masks[0], atol=1e-5)


def test_bfloat16_changes_little(small: XBoundFormer) -> None:
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        whole = small.train()(images)
        with torch.autocast("cpu", torch.bfloat16):
            half = small(images)
    for ours, theirs in zip(
        (*half.masks, *half.boundaries), (*whole.masks, *whole.boundaries), strict=True
    ):
        assert (ours.float() - theirs).abs().max() < 0.05 * theirs.abs().max() + 0.05


def test_im_bound_adds_what_lies_on_the_boundary_once_more() -> None:
    torch.manual_seed(0)
    learner = ImplicitLearner(16, 2).eval()
    features = torch.rand(2, 16, 4, 4)
    with torch.no_grad():
        learner.logit.weight.zero_()
        given = []
        for logit in (-100.0, 0.0, 100.0):
            assert learner.logit.bias is not None
            learner.logit.bias.fill_(logit)
            aware, bound = learner(features)
            assert bound.shape == (2, 1, 4, 4) and (bound == logit).all()
            given.append(aware)
    off, half, on = given
    assert torch.allclose(half, 1.5 * off)
    assert torch.allclose(on, 2 * off)


def test_ex_bound_reads_the_boundarys_points_alone() -> None:
    torch.manual_seed(0)
    learner = ExplicitLearner(16, 2, 3).eval()
    features = torch.rand(1, 16, 4, 4)
    bound = torch.full((1, 1, 4, 4), -1e4)
    bound[0, 0, 2, 1] = 1e4
    with torch.no_grad():
        given = learner(features, bound)
        point = learner.norm(features[0, :, 2, 1])
        weight, bias = learner.attention.in_proj_weight[32:], learner.attention.in_proj_bias[32:]
        value = learner.attention.out_proj(functional.linear(point, weight, bias))
        assert torch.allclose(given, learner.queries + value, atol=1e-5)
        # Where all points are as likely, their chance does not matter.
        everywhere = [learner(features, torch.full_like(bound, logit)) for logit in (-3.0, 2.0)]
        assert torch.allclose(everywhere[0], everywhere[1], atol=1e-5)
        # Every image has its own boundary.
        both = learner(features.repeat(2, 1, 1, 1), torch.cat([torch.zeros_like(bound), bound]))
        assert torch.allclose(both[1:], given, atol=1e-5)
        assert not torch.allclose(both[:1], given, atol=1e-3)


def test_x_bound_takes_embeddings_as_a_set() -> None:
    torch.manual_seed(0)
    learner = CrossScaleLearner(16, 2).eval()
    features, embeddings = torch.rand(2, 16, 3, 5), torch.rand(2, 6, 16)
    with torch.no_grad():
        given = learner(features, embeddings)
        assert given.shape == features.shape
        assert torch.allclose(given, learner(features, embeddings.flip(1)), atol=1e-5)
        assert not torch.allclose(given, learner(features, 2 - embeddings), atol=1e-3)
        # Each point is guided by itself.
        turned = learner(features.flip(3), embeddings)
        assert torch.allclose(turned, given.flip(3), atol=1e-5)


@pytest.mark.parametrize(("scale", "guided"), [(0, [1]), (1, [0, 2]), (2, [1])])
def test_a_scales_boundary_guides_its_neighbours(
    small: XBoundFormer, scale: int, guided: list[int]
) -> None:
    images = torch.rand(1, 3, 96, 96)
    seen: list[list[torch.Tensor]] = [[], [], []]
    for learner, inputs in zip(small.across, seen, strict=True):
        learner.register_forward_hook(lambda _, given, out, inputs=inputs: inputs.append(given[1]))
    explicit: Any = small.explicit[scale]
    with torch.no_grad():
        small.eval()(images)
        explicit.queries += 1
        small(images)
    changed = [at for at, (one, two) in enumerate(seen) if not torch.allclose(one, two)]
    assert changed == guided


@pytest.mark.slow
@pytest.mark.data
def test_it_learns_a_small_set(learned_dice: Callable[[nn.Module, float], float]) -> None:
    torch.manual_seed(0)
    assert learned_dice(XBoundFormer(), 3e-4) > 0.95
