"""Adversarial losses: what two nets of a GAN minimise in turn, and the penalties on gradients."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didgen.augment.device import exact
from didgen.augment.seeds import derived_seed


class Adversarial(nn.Module):
    """A generator and a discriminator that take turns in a step of training.

    A subclass says what each minimises: `discriminator_loss(batch)` and `generator_loss(batch)`,
    which return `loss` and what else is logged. All that is random in a turn comes from the seed,
    the step and the turn: a training that goes on draws what an uninterrupted one draws.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, seed: int) -> None:
        super().__init__()
        self.generator, self.discriminator, self.seed = generator, discriminator, seed

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        turn: str = batch["turn"]
        torch.manual_seed(derived_seed(self.seed, turn, batch["step"]))
        if turn == "discriminator":
            return self.discriminator_loss(batch)
        return self.generator_loss(batch)

    def discriminator_loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the discriminator minimises."""
        raise NotImplementedError

    def generator_loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the generator minimises."""
        raise NotImplementedError


def least_squares(outputs: Tensor, target: float) -> Tensor:
    """The mean squared distance of a discriminator's outputs from a target (LSGAN, Eq. 2)."""
    return (outputs.float() - target).square().mean()


def squared_gradient(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """|grad_x D(x)|^2 of each image, (B,), to be differentiated itself.

    Its mean over real images is R1 of Mescheder et al. (ICML 2018), but for its weight of gamma/2.
    """
    images = images.detach().requires_grad_(True)
    with exact(images.device):
        outputs = discriminator(images)
        (gradient,) = torch.autograd.grad(outputs.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3))


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, drawn: Tensor, shares: Tensor
) -> Tensor:
    """(|grad D(x)| - 1)^2, averaged over x = real + share (drawn - real): WGAN-GP.

    shares: (B,) in [0, 1], uniform in the source (Gulrajani et al., NeurIPS 2017, Eq. 3).
    """
    between = torch.lerp(real, drawn, shares[:, None, None, None])
    # A root's slope is infinite at 0, which a net of zeros would come to.
    norms = (squared_gradient(discriminator, between) + 1e-12).sqrt()
    return (norms - 1).square().mean()


def minibatch_deviation(features: Tensor, group: int) -> Tensor:
    """A map (B, 1, H, W) of how far images of a group differ: the last layer of PGAN's critic.

    The deviation over a group's images, averaged over channels and places (Karras et al., ICLR
    2018, Section 3). Groups are of `group` images, or the greatest smaller number that parts the
    batch.
    """
    count, _, height, width = features.shape
    group = next(size for size in range(min(group, count), 0, -1) if count % size == 0)
    grouped = features.float().view(group, -1, *features.shape[1:])
    deviation = (grouped.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return deviation.repeat(group)[:, None, None, None].expand(count, 1, height, width)


def diff_augment(images: Tensor) -> Tensor:
    """Random brightness, saturation, contrast, a shift and a hole for each image (B, C, H, W).

    DiffAugment of Zhao et al. (NeurIPS 2020), its policy "color, translation, cutout": brightness
    by -0.5 to 0.5, saturation times 0 to 2, contrast times 0.5 to 1.5, shifts by an eighth of the
    side, a hole of half the side. Differentiable, so that both nets learn through it.
    """
    count, _, height, width = images.shape

    def uniform() -> Tensor:
        return torch.rand(count, 1, 1, 1, device=images.device)

    images = images + (uniform() - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (2 * uniform())
    middle = images.mean((1, 2, 3), keepdim=True)
    images = middle + (images - middle) * (uniform() + 0.5)
    return _with_hole(_shifted(images, height // 8, width // 8), height // 2, width // 2)


def _shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Each image moved by up to `down` and `right` pixels either way, with zeros where it was."""
    count, _, height, width = images.shape
    padded = F.pad(images, (right, right, down, down))
    tops = torch.randint(0, 2 * down + 1, (count,), device=images.device)
    lefts = torch.randint(0, 2 * right + 1, (count,), device=images.device)
    rows = tops[:, None] + torch.arange(height, device=images.device)
    columns = lefts[:, None] + torch.arange(width, device=images.device)
    places = torch.arange(count, device=images.device)[:, None, None]
    return padded.movedim(1, -1)[places, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _with_hole(images: Tensor, high: int, wide: int) -> Tensor:
    """Each image with a rectangle of zeros, whose middle lies anywhere."""
    count, _, height, width = images.shape
    rows = torch.arange(height, device=images.device)[None, :, None]
    columns = torch.arange(width, device=images.device)[None, None, :]
    top = torch.randint(0, height, (count, 1, 1), device=images.device) - high // 2
    left = torch.randint(0, width, (count, 1, 1), device=images.device) - wide // 2
    inside = (rows >= top) & (rows < top + high) & (columns >= left) & (columns < left + wide)
    return images * ~inside[:, None]
