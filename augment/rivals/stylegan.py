"""SL-StyleGAN (Qin et al., 2020): a StyleGAN of skin lesions with least squares and R1.

Written from the equations of StyleGAN (Karras et al., CVPR 2019) with the sizes of the public code
(SkinLesion-StyleGAN eed9ac5). Choices that it leaves open here: images end in a tanh, and the
discriminator's leaky units have a slope of 0.2. One net for all classes is an addition: the class
is an embedding beside the latent vector, and the discriminator's output takes an inner product with
its features (Miyato and Koyama, ICLR 2018).
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didgen.augment.methods.generator import Opened
from didgen.augment.rivals.adversarial import (
    Adversarial,
    diff_augment,
    least_squares,
    squared_gradient,
)
from didgen.augment.rivals.class_gan import method_of_parts, open_class_gan, parts_of, sheet_of
from didgen.augment.rivals.gan_images import picture_table
from didgen.augment.rivals.rival_run import rival_run
from didgen.manifests.provenance.model_method import ModelMethod
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.rivals import StyleGanNetwork, StyleGanRecipe


def adaptive_norm(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """AdaIN (Huang and Belongie, ICCV 2017, Eq. 8): scale (x - mean) / deviation + shift.

    features: (B, C, H, W), each channel of each image normalised; scale, shift: (B, C).
    """
    normal = F.instance_norm(features)
    return normal * scale[:, :, None, None] + shift[:, :, None, None]


class StyledLayer(nn.Module):
    """Convolution, noise by a learnt strength a channel, AdaIN by the style, leaky unit of 0.01."""

    def __init__(self, channels_in: int, channels: int, style: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.strength = nn.Parameter(torch.zeros(channels))
        self.style = nn.Linear(style, 2 * channels)

    def forward(self, features: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        features = self.convolution(features) + self.strength[:, None, None] * noise
        scale, shift = self.style(style).chunk(2, 1)
        return F.leaky_relu(adaptive_norm(features, 1 + scale, shift), 0.01)


class StyleGenerator(nn.Module):
    """Images (B, 3, S, S) in [-1, 1] of normal numbers (B, `numbers`) and classes (B,).

    The first numbers are the latent vector, the others the noise of the layers, in their order.
    """

    def __init__(self, network: StyleGanNetwork, classes: int) -> None:
        super().__init__()
        self.latent = network.latent
        self.classes = nn.Embedding(classes, network.latent) if classes > 1 else None
        widths = [network.latent * (2 if classes > 1 else 1)]
        widths += [network.style] * network.mapping_layers
        self.mapping = nn.Sequential(
            *(
                layer
                for width_in, width in pairwise(widths)
                for layer in (nn.Linear(width_in, width), nn.LeakyReLU(0.2))
            )
        )
        channels = network.channels
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        inputs = (channels[0], *(width for width in channels for _ in range(2)))
        self.layers = nn.ModuleList(
            StyledLayer(width_in, width, network.style) for width_in, width in pairwise(inputs)
        )
        self.to_rgb = nn.Conv2d(channels[-1], 3, 1)
        self.sides = [4 * 2**level for level in range(len(channels)) for _ in range(2)]
        self.numbers = self.latent + sum(side * side for side in self.sides)

    def forward(self, numbers: Tensor, labels: Tensor) -> Tensor:
        latent, *noise = numbers.split([self.latent, *(side * side for side in self.sides)], 1)
        if self.classes is not None:
            latent = torch.cat([latent, self.classes(labels)], 1)
        style = self.mapping(latent)
        features = self.constant.expand(len(numbers), -1, -1, -1)
        for layer, flat, side in zip(self.layers, noise, self.sides, strict=True):
            if side > features.shape[-1]:
                features = F.interpolate(features, scale_factor=2, mode="bilinear")
            features = layer(features, style, flat.view(-1, 1, side, side))
        images: Tensor = self.to_rgb(features).tanh()
        return images


class StyleDiscriminator(nn.Module):
    """How real images (B, 3, S, S) of classes (B,) look, (B,)."""

    def __init__(self, network: StyleGanNetwork, classes: int) -> None:
        super().__init__()
        widths = (3, *network.discriminator)
        self.blocks = nn.Sequential(
            *(
                layer
                for width_in, width in pairwise(widths)
                for layer in (
                    nn.Conv2d(width_in, width, 3, padding=1),
                    nn.LeakyReLU(0.2),
                    nn.AvgPool2d(2),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.LeakyReLU(0.2),
                )
            )
        )
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * widths[-1], network.dense),
            nn.LeakyReLU(0.2),
            nn.Dropout(network.dropout),
        )
        self.output = nn.Linear(network.dense, 1)
        self.classes = nn.Embedding(classes, network.dense) if classes > 1 else None

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        features = self.dense(self.blocks(images))
        outputs: Tensor = self.output(features)[:, 0]
        if self.classes is not None:
            outputs = outputs + (self.classes(labels) * features).sum(1)
        return outputs


class StyleGan(Adversarial):
    """The two losses: least squares with targets 1 and -1 for D, 0 for G; R1 of D, also lazily."""

    generator: StyleGenerator

    def __init__(self, recipe: StyleGanRecipe, classes: int) -> None:
        torch.manual_seed(recipe.seed)
        super().__init__(
            StyleGenerator(recipe.network, classes),
            StyleDiscriminator(recipe.network, classes),
            recipe.seed,
        )
        self.recipe = recipe

    def _draw(self, labels: Tensor) -> Tensor:
        numbers = torch.randn(len(labels), self.generator.numbers, device=labels.device)
        images: Tensor = self.generator(numbers, labels)
        return images.float()

    def _judged(self, images: Tensor, labels: Tensor) -> Tensor:
        seen = diff_augment(images) if self.recipe.diff_augment else images
        outputs: Tensor = self.discriminator(seen, labels)
        return outputs

    def discriminator_loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Least squares, and every `r1_every` steps R1 of as many times its weight."""
        real, labels = batch["pixels"], batch["label"]
        with torch.no_grad():
            drawn = self._draw(labels)
        loss = least_squares(self._judged(real, labels), 1)
        loss = loss + least_squares(self._judged(drawn, labels), -1)
        told = {"adversarial": loss.detach()}
        every = self.recipe.r1_every
        if self.recipe.r1_weight and batch["step"] % every == 0:
            r1 = squared_gradient(lambda images: self.discriminator(images, labels), real).mean()
            loss = loss + self.recipe.r1_weight * every * r1
            told["r1"] = r1.detach()
        return {"loss": loss} | told

    def generator_loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The squared output for what is drawn: halfway between D's targets."""
        labels = batch["label"]
        return {"loss": least_squares(self._judged(self._draw(labels), labels), 0)}


def train_stylegan(recipe: StyleGanRecipe, out: Path) -> Path:
    """Train SL-StyleGAN into the folder `out`; returns the model directory, `out/model`."""
    with rival_run(recipe, out) as run:
        table = picture_table(run)
        parts, nets = parts_of(run, recipe.conditional), {}
        schedule = run.schedule(recipe.steps, recipe.batch_size, betas=(0.0, 0.99))
        for number, part in enumerate(parts):
            module = StyleGan(recipe, len(part.classes))
            sheet = sheet_of(run, part.name, part, module.generator)
            run.train(part.name, module, part.images(run, table), schedule, sheet)
            nets[f"generator-{number}"] = module.generator
        trained = f"{recipe.steps} steps of {recipe.batch_size} images"
        return run.save(nets, method_of_parts(recipe, parts, trained))


def open_stylegan(recipe: AugmentRecipe) -> Opened:
    """Open an SL-StyleGAN's model directory for a recipe of `didgen augment`."""

    def build(method: ModelMethod, classes: int) -> nn.Module:
        return StyleGenerator(StyleGanNetwork.model_validate(method.network), classes)

    return open_class_gan(recipe, build)
