"""Tests of adversarial losses: penalties in closed form on linear critics, and by hand."""

from collections.abc import Callable

import pytest
import torch
from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn

from didgen.augment.rivals.adversarial import (
    diff_augment,
    gradient_penalty,
    least_squares,
    minibatch_deviation,
    squared_gradient,
)


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """A critic D(x) = <w, x>, whose gradient is w everywhere."""
    return lambda images: (images * weights).sum((1, 2, 3))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_squared_gradient_of_a_linear_critic_is_that_of_its_weights(images: Tensor) -> None:
    weights = torch.randn(3, 8, 8)
    found = squared_gradient(linear(weights), images)
    torch.testing.assert_close(found, weights.square().sum().expand(4))


def test_the_squared_gradient_is_that_of_finite_differences(images: Tensor) -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 1)).double()
    whole = images[:1].double()
    by_hand = 0.0
    for place in range(whole.numel()):
        step = torch.zeros(whole.numel(), dtype=torch.double)
        step[place] = 1e-5
        moved = step.view_as(whole)
        slope = (critic(whole + moved) - critic(whole - moved)).item() / 2e-5
        by_hand += slope**2
    found = squared_gradient(lambda x: critic(x)[:, 0], whole)
    assert found.item() == pytest.approx(by_hand, rel=1e-6)


def test_the_penalty_is_differentiated_itself(images: Tensor) -> None:
    """d/dw of |w|^2 is 2 w: the optimiser of a critic moves by it."""
    weights = torch.randn(3, 8, 8, requires_grad=True)
    squared_gradient(linear(weights), images).mean().backward()
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad, 2 * weights.detach())


@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_the_gradient_penalty_of_a_linear_critic_is_in_closed_form(
    images: Tensor, norm: float
) -> None:
    weights = torch.randn(3, 8, 8)
    critic = linear(norm * weights / weights.norm())
    found = gradient_penalty(critic, images, images.flip(0), torch.rand(4))
    assert found.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_the_gradient_penalty_is_taken_between_real_and_drawn(images: Tensor) -> None:
    """D(x) = |x|^2 / 2 has the gradient x, so that the norm tells where it was taken."""
    shares = torch.tensor([0.0, 1.0, 0.25, 0.5])
    drawn = images.flip(0)
    found = gradient_penalty(lambda x: x.square().sum((1, 2, 3)) / 2, images, drawn, shares)
    places = images + shares[:, None, None, None] * (drawn - images)
    torch.testing.assert_close(found, (places.flatten(1).norm(dim=1) - 1).square().mean())


@pytest.mark.parametrize("target", [1.0, 0.0])
def test_least_squares_are_those_of_monai(target: float) -> None:
    outputs = torch.randn(5, 1, 4, 4)
    oracle = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
    wanted = oracle(outputs, target_is_real=target == 1.0, for_discriminator=True)
    torch.testing.assert_close(least_squares(outputs, target), wanted)


def test_minibatch_deviation_by_hand() -> None:
    features = torch.randn(6, 2, 3, 3)
    found = minibatch_deviation(features, 3)
    assert found.shape == (6, 1, 3, 3)
    # Image b is of group b mod 2: {0, 2, 4} and {1, 3, 5}.
    for image in range(6):
        group = features[[image % 2, image % 2 + 2, image % 2 + 4]]
        wanted = (group.var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(found[image], wanted.expand(1, 3, 3))


def test_minibatch_deviation_of_one_image_again_and_again_is_nothing() -> None:
    same = torch.randn(1, 2, 3, 3).expand(4, -1, -1, -1)
    torch.testing.assert_close(minibatch_deviation(same, 4), torch.full((4, 1, 3, 3), 1e-4))
    # Five images have no groups of four, but one of five is too large: each is its own.
    assert minibatch_deviation(torch.randn(5, 2, 3, 3), 4).max() < 1e-3


def test_diff_augment_is_differentiable_keeps_the_shape_and_differs_by_image() -> None:
    torch.manual_seed(0)
    same = torch.rand(1, 3, 16, 16).expand(8, -1, -1, -1).clone().requires_grad_(True)
    seen = diff_augment(same)
    assert seen.shape == same.shape
    assert len({tuple(one.flatten().tolist()) for one in seen.detach()}) == 8
    seen.sum().backward()
    assert same.grad is not None and same.grad.abs().sum() > 0
    # A hole of half the side, whole or cut by the edge, is zero in all channels.
    empty = (seen == 0).all(1).float().mean((1, 2))
    assert (empty >= 1 / 16).all() and (empty < 0.6).all()
