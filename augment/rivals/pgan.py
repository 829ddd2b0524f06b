"""PGAN (Karras et al., ICLR 2018): progressive growing with WGAN-GP.

Written from the paper's equations and settings. Both nets are trained at 4x4 first. Each further
level is faded in, then trained on; the optimiser begins anew with it, as in the source. One net for
all classes takes the class as an embedding beside the latent vector, and its critic reads the class
from the image (AC-GAN: Odena et al., ICML 2017). The average of the weights begins anew with each
level, which the source does not do.
"""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didgen.augment.finetuning.checkpoint import checkpoints
from didgen.augment.methods.generator import Opened
from didgen.augment.rivals.adversarial import (
    Adversarial,
    diff_augment,
    gradient_penalty,
    minibatch_deviation,
)
from didgen.augment.rivals.class_gan import (
    Part,
    method_of_parts,
    open_class_gan,
    parts_of,
    sheet_of,
)
from didgen.augment.rivals.gan_images import GanImages, picture_table
from didgen.augment.rivals.rival_run import RivalRun, rival_run
from didgen.augment.tensor_files import load_tensors
from didgen.manifests.provenance.model_method import ModelMethod
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.rivals import PganNetwork, PganRecipe


def pixel_norm(features: Tensor) -> Tensor:
    """b = a / sqrt(mean_j a_j^2 + 1e-8) over the channels of (B, C, ...), Section 4.2."""
    return features * (features.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def enlarged(images: Tensor) -> Tensor:
    """Images at twice their side, each pixel as a square of four."""
    return F.interpolate(images, scale_factor=2, mode="nearest")


class Equalised(nn.Module):
    """A layer of unit normal weights, scaled as it runs by gain / sqrt(fan-in) (Section 4.1).

    So all weights have the same dynamic range, and one rate of Adam suits them all. side: of the
    kernel; None is a linear layer.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int | None = 3, gain: float = math.sqrt(2)
    ) -> None:
        super().__init__()
        kernel = () if side is None else (side, side)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * math.prod(kernel))

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight * self.scale
        if weight.ndim == 2:
            return F.linear(features, weight, self.bias)
        return F.conv2d(features, weight, self.bias, padding=weight.shape[-1] // 2)


class GrowingGenerator(nn.Module):
    """Images (B, 3, S, S), about [-1, 1], of normal numbers (B, `numbers`) and classes (B,).

    level: how far it has grown, from 0 for 4x4. share: how far that level is faded in, in (0, 1];
    below 1 the level before it, enlarged, has the rest.
    """

    def __init__(self, network: PganNetwork, classes: int, level: int = -1) -> None:
        super().__init__()
        channels, latent = network.channels, network.latent
        self.numbers, self.level, self.share = latent, level % len(channels), 1.0
        self.classes = nn.Embedding(classes, latent) if classes > 1 else None
        inputs = latent * (2 if classes > 1 else 1)
        # The gain is a quarter here, as in the source: a dense layer to 4x4.
        self.dense = Equalised(inputs, channels[0] * 16, None, gain=math.sqrt(2) / 4)
        self.first = Equalised(channels[0], channels[0])
        # Two layers a level: the first comes to its width.
        self.layers = nn.ModuleList(
            layer
            for width_in, width in pairwise(channels)
            for layer in (Equalised(width_in, width), Equalised(width, width))
        )
        self.to_rgb = nn.ModuleList(Equalised(width, 3, 1, gain=1.0) for width in channels)

    def forward(self, numbers: Tensor, labels: Tensor) -> Tensor:
        if self.classes is not None:
            numbers = torch.cat([numbers, self.classes(labels)], 1)
        features = self.dense(pixel_norm(numbers)).view(len(numbers), -1, 4, 4)
        features = pixel_norm(F.leaky_relu(features, 0.2))
        features = pixel_norm(F.leaky_relu(self.first(features), 0.2))
        before = features
        for level in range(self.level):
            before, features = features, enlarged(features)
            for layer in self.layers[2 * level : 2 * level + 2]:
                features = pixel_norm(F.leaky_relu(layer(features), 0.2))
        images: Tensor = self.to_rgb[self.level](features)
        if self.level and self.share < 1:
            coarse = self.to_rgb[self.level - 1](before)
            images = torch.lerp(enlarged(coarse), images, self.share)
        return images


class GrowingCritic(nn.Module):
    """How real images (B, 3, S, S) look, (B,), and what is read of their class, (B, classes)."""

    def __init__(self, network: PganNetwork, classes: int) -> None:
        super().__init__()
        channels = network.channels
        self.group, self.level, self.share = network.group, len(channels) - 1, 1.0
        self.from_rgb = nn.ModuleList(Equalised(3, width, 1) for width in channels)
        # Two layers a level: the second comes to the width of the level below.
        self.layers = nn.ModuleList(
            layer
            for width_out, width in pairwise(channels)
            for layer in (Equalised(width, width), Equalised(width, width_out))
        )
        self.last = Equalised(channels[0] + 1, channels[0])
        self.dense = Equalised(channels[0] * 16, channels[0], None)
        read = classes if classes > 1 else 0
        self.output = Equalised(channels[0], 1 + read, None, gain=1.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = F.leaky_relu(self.from_rgb[self.level](images), 0.2)
        for level in range(self.level, 0, -1):
            for layer in self.layers[2 * level - 2 : 2 * level]:
                features = F.leaky_relu(layer(features), 0.2)
            features = F.avg_pool2d(features, 2)
            if level == self.level and self.share < 1:
                coarse = self.from_rgb[level - 1](F.avg_pool2d(images, 2))
                features = torch.lerp(F.leaky_relu(coarse, 0.2), features, self.share)
        deviation = minibatch_deviation(features, self.group).to(features.dtype)
        features = F.leaky_relu(self.last(torch.cat([features, deviation], 1)), 0.2)
        features = F.leaky_relu(self.dense(features.flatten(1)), 0.2)
        outputs: Tensor = self.output(features).float()
        return outputs[:, 0], outputs[:, 1:]


def faded(images: Tensor, share: float) -> Tensor:
    """Real images for a level that is faded in by `share`: the rest of them is of half the side."""
    if share >= 1:
        return images
    return torch.lerp(enlarged(F.avg_pool2d(images, 2)), images, share)


class Pgan(Adversarial):
    """The two losses of WGAN-GP at one level: Wasserstein, penalty and drift, and the class."""

    generator: GrowingGenerator
    discriminator: GrowingCritic

    def __init__(self, recipe: PganRecipe, classes: int) -> None:
        torch.manual_seed(recipe.seed)
        super().__init__(
            GrowingGenerator(recipe.network, classes),
            GrowingCritic(recipe.network, classes),
            recipe.seed,
        )
        self.recipe, self.fade = recipe, 0

    def grow(self, level: int, fade: int) -> None:
        """Train this level from now on; it is faded in over `fade` steps, but for the first."""
        self.generator.level = self.discriminator.level = level
        self.fade = fade if level else 0
        self.seed = self.recipe.seed + level

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        # From almost nothing to almost all: no step is without the new level.
        share = min(1.0, (batch["step"] + 1) / (self.fade + 1))
        self.generator.share = self.discriminator.share = share
        factor = 2 ** (len(self.recipe.network.channels) - 1 - self.generator.level)
        pixels = faded(F.avg_pool2d(batch["pixels"], factor), share)
        return super().forward(batch | {"pixels": pixels})

    def _draw(self, labels: Tensor) -> Tensor:
        numbers = torch.randn(len(labels), self.generator.numbers, device=labels.device)
        images: Tensor = self.generator(numbers, labels)
        return images.float()

    def _judged(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen = diff_augment(images) if self.recipe.diff_augment else images
        outputs: tuple[Tensor, Tensor] = self.discriminator(seen)
        return outputs

    def _class_loss(self, read: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the class that the critic reads; nothing where there is one class."""
        if not read.shape[1]:
            return torch.zeros((), device=read.device)
        return self.recipe.class_weight * F.cross_entropy(read, labels)

    def discriminator_loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """E D(drawn) - E D(real) + penalty + drift, and the class of both kinds of images."""
        recipe, real, labels = self.recipe, batch["pixels"], batch["label"]
        with torch.no_grad():
            drawn = self._draw(labels)
        (ours, ours_read), (theirs, theirs_read) = self._judged(real), self._judged(drawn)
        shares = torch.rand(len(real), device=real.device)
        penalty = gradient_penalty(lambda x: self.discriminator(x)[0], real, drawn, shares)
        distance = ours.mean() - theirs.mean()
        loss = recipe.penalty * penalty + recipe.drift * ours.square().mean() - distance
        loss = loss + self._class_loss(ours_read, labels) + self._class_loss(theirs_read, labels)
        return {"loss": loss, "wasserstein": distance.detach(), "penalty": penalty.detach()}

    def generator_loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """- E D(drawn), and the class that the critic reads of what is drawn."""
        labels = batch["label"]
        theirs, read = self._judged(self._draw(labels))
        return {"loss": self._class_loss(read, labels) - theirs.mean()}


def train_pgan(recipe: PganRecipe, out: Path) -> Path:
    """Train PGAN into the folder `out`, a level after the other; returns `out/model`."""
    with rival_run(recipe, out) as run:
        table = picture_table(run)
        parts, nets = parts_of(run, recipe.conditional), {}
        for number, part in enumerate(parts):
            nets[f"generator-{number}"] = _grown(run, recipe, part, part.images(run, table))
        kimg = recipe.fade_kimg + recipe.stable_kimg
        levels = len(recipe.network.channels)
        total = kimg * levels - recipe.fade_kimg
        steps = sum(sum(_steps(recipe, level)) for level in range(levels))
        trained = f"{total:g} kimg, {steps} steps"
        return run.save(nets, method_of_parts(recipe, parts, trained))


def _grown(run: RivalRun, recipe: PganRecipe, part: Part, images: GanImages) -> nn.Module:
    """The generator of a part's images, trained through all levels.

    The next level goes on from the weights of the last step, not from their average.
    """
    module = Pgan(recipe, len(part.classes))
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    last = len(recipe.network.channels) - 1
    for level, batch_size in enumerate(recipe.batch_sizes):
        fade, stable = _steps(recipe, level)
        module.grow(level, fade)
        stage = f"{part.name}-level-{level}"
        schedule = run.schedule(fade + stable, batch_size, betas=(0.0, 0.99))
        sheet = sheet_of(run, stage, part, module.generator)
        run.train(stage, module, images, schedule, sheet)
        if level < last:
            newest = checkpoints(run.out / "checkpoints" / stage)[-1]
            load_tensors(newest / "weights.safetensors", trained)
    module.generator.share = 1.0
    return module.generator


def _steps(recipe: PganRecipe, level: int) -> tuple[int, int]:
    """The steps of a level: those that fade it in, and those after that."""
    size = recipe.batch_sizes[level]
    stable = max(1, round(1000 * recipe.stable_kimg / size))
    return (max(1, round(1000 * recipe.fade_kimg / size)) if level else 0), stable


def open_pgan(recipe: AugmentRecipe) -> Opened:
    """Open a PGAN's model directory for a recipe of `didgen augment`."""

    def build(method: ModelMethod, classes: int) -> nn.Module:
        return GrowingGenerator(PganNetwork.model_validate(method.network), classes)

    return open_class_gan(recipe, build)
