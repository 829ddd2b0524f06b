"""Pix2PixHD (Wang et al., CVPR 2018): an image of a mask, by PatchGANs and matched features.

Written from the paper's equations, with the settings of its public code (14b3b3c). Named
deviations: the perceptual network is one of timm, since VGG's weights have no free licence; a mask
may come with channels of noise, without which it has one image; there is no instance map, because
an image has one lesion. The discriminators are MONAI's, each on images of half the side of the one
before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.nets import PatchDiscriminator
from numpy.typing import NDArray
from torch import Tensor, nn

from didgen.augment.contact_sheets import pair_sheet
from didgen.augment.device import Device
from didgen.augment.diffusion.autoencoder import levels
from didgen.augment.diffusion.noise import TrySeed, initial_noise
from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.augment.methods.generator import LayoutPairs, Opened, Planned
from didgen.augment.rivals.adversarial import Adversarial, least_squares
from didgen.augment.rivals.gan_images import GanImages, picture_table
from didgen.augment.rivals.rival_run import RivalRun, load_net, rival_run
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.images import encoded
from didgen.manifests.provenance.model_method import ModelMethod, method_of
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.rivals import Pix2PixHdNetwork, Pix2PixHdRecipe

SHEET = 8
"""Pairs on a sample sheet."""


class Residual(nn.Module):
    """x + f(x), f two convolutions with instance normalisation (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *_convolution(channels, channels, 3),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        refined: Tensor = features + self.inner(features)
        return refined


class MaskToImage(nn.Module):
    """The global generator: images (B, 3, S, S) in [-1, 1] of masks (B, 1, S, S) and noise.

    noise: (B, `noise_channels`, S, S), of normal numbers. Lesion and skin are a channel each.
    """

    def __init__(self, network: Pix2PixHdNetwork) -> None:
        super().__init__()
        self.noise_channels = network.noise_channels
        width, halvings = network.channels, network.downsamplings
        layers: list[nn.Module] = [*_convolution(2 + network.noise_channels, width, 7)]
        for level in range(halvings):
            here = width * 2**level
            layers += [
                nn.Conv2d(here, 2 * here, 3, stride=2, padding=1),
                nn.InstanceNorm2d(2 * here),
                nn.ReLU(),
            ]
        layers += [Residual(width * 2**halvings) for _ in range(network.blocks)]
        for level in reversed(range(halvings)):
            here = width * 2**level
            layers += [
                nn.ConvTranspose2d(2 * here, here, 3, stride=2, padding=1, output_padding=1),
                nn.InstanceNorm2d(here),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7))

    def forward(self, masks: Tensor, noise: Tensor) -> Tensor:
        images: Tensor = self.layers(torch.cat([masks, 1 - masks, noise], 1)).tanh()
        return images


def _convolution(channels_in: int, channels: int, side: int) -> tuple[nn.Module, ...]:
    """A convolution with reflected borders, instance normalisation and a rectified unit."""
    return (
        nn.ReflectionPad2d(side // 2),
        nn.Conv2d(channels_in, channels, side),
        nn.InstanceNorm2d(channels),
        nn.ReLU(),
    )


class Scales(nn.Module):
    """PatchGANs of mask and image together: the first at whole size, each next at half of that.

    forward takes masks (B, 1, S, S) and images (B, 3, S, S), and returns the features of each
    PatchGAN, its output map last.
    """

    def __init__(self, network: Pix2PixHdNetwork) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            PatchDiscriminator(
                spatial_dims=2,
                channels=network.discriminator_channels,
                in_channels=5,
                num_layers_d=network.discriminator_layers,
                norm="INSTANCE",
            )
            for _ in range(network.scales)
        )

    def forward(self, masks: Tensor, images: Tensor) -> list[list[Tensor]]:
        seen, features = torch.cat([masks, 1 - masks, images], 1), []
        for discriminator in self.scales:
            features.append(discriminator(seen))
            seen = F.avg_pool2d(seen, 3, stride=2, padding=1, count_include_pad=False)
        return features


def matched_features(real: Sequence[Sequence[Tensor]], drawn: Sequence[Sequence[Tensor]]) -> Tensor:
    """Feature matching (Eq. 4 of the paper): how far a discriminator's features are apart.

    real, drawn: the features of each scale, the output map last, which is left out. Of each layer
    it is the mean distance, summed over layers and, as in the source, averaged over scales.
    """
    distances = [
        torch.stack(
            [
                F.l1_loss(one.float(), other.float())
                for one, other in zip(ours[:-1], theirs[:-1], strict=True)
            ]
        ).sum()
        for ours, theirs in zip(drawn, real, strict=True)
    ]
    return torch.stack(distances).mean()


class Pix2PixHd(Adversarial):
    """The two losses: least squares of every scale; for G also features and perception."""

    generator: MaskToImage

    def __init__(self, recipe: Pix2PixHdRecipe) -> None:
        torch.manual_seed(recipe.seed)
        super().__init__(MaskToImage(recipe.network), Scales(recipe.network), recipe.seed)
        self.recipe = recipe
        self.perceptual = PerceptualDistance(recipe.perceptual) if recipe.perceptual else None

    def _draw(self, masks: Tensor) -> Tensor:
        count, _, height, width = masks.shape
        shape = (count, self.generator.noise_channels, height, width)
        images: Tensor = self.generator(masks, torch.randn(shape, device=masks.device))
        return images.float()

    def discriminator_loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Half of both squares, summed over scales, as in the source."""
        masks, real = batch["mask"], batch["pixels"]
        with torch.no_grad():
            drawn = self._draw(masks)
        losses = [
            least_squares(ours[-1], 1) + least_squares(theirs[-1], 0)
            for ours, theirs in zip(
                self.discriminator(masks, real), self.discriminator(masks, drawn), strict=True
            )
        ]
        return {"loss": torch.stack(losses).sum() / 2}

    def generator_loss(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Least squares, matched features and the perceptual distance, each by its weight."""
        masks, real = batch["mask"], batch["pixels"]
        drawn = self._draw(masks)
        with torch.no_grad():
            wanted = self.discriminator(masks, real)
        found = self.discriminator(masks, drawn)
        adversarial = torch.stack([least_squares(scale[-1], 1) for scale in found]).sum()
        features = matched_features(wanted, found)
        loss = adversarial + self.recipe.feature_weight * features
        told = {"adversarial": adversarial.detach(), "features": features.detach()}
        if self.perceptual is not None:
            distance = self.perceptual(drawn, real).mean()
            loss = loss + self.perceptual.weight * distance
            told["perceptual"] = distance.detach()
        return {"loss": loss} | told


@dataclass(frozen=True)
class PairsOfMasks(LayoutPairs):
    """The generator: each layout with an image of it, by the layout alone."""

    net: MaskToImage

    def to(self, device: Device) -> None:
        """Bring the net to a device."""
        self.net.to(device.name)

    def images(
        self,
        planned: Sequence[Planned],
        seeds: Sequence[TrySeed],
        layouts: NDArray[np.bool_],
        device: Device,
    ) -> NDArray[np.uint8]:
        with device.autocast():
            return drawn_pairs(self.net, seeds, layouts, device.name)


@torch.no_grad()
def drawn_pairs(
    net: MaskToImage,
    seeds: Sequence[TrySeed],
    layouts: NDArray[np.bool_],
    device: str | torch.device,
) -> NDArray[np.uint8]:
    """Images (B, S, S, 3) of layouts (B, S, S), each with the noise of its own seed."""
    masks = torch.from_numpy(layouts)[:, None].float().to(device)
    noise = initial_noise(seeds, (net.noise_channels, *layouts.shape[1:])).to(device)
    shown: NDArray[np.uint8] = levels(net(masks, noise).float()).movedim(1, -1).cpu().numpy()
    return shown


def train_pix2pixhd(recipe: Pix2PixHdRecipe, out: Path) -> Path:
    """Train Pix2PixHD into the folder `out`; returns the model directory, `out/model`."""
    judges = {"perceptual": recipe.perceptual.weights} if recipe.perceptual else {}
    module = Pix2PixHd(recipe)
    with rival_run(recipe, out, **judges) as run:
        rows = tuple(range(len(run.records)))
        images = GanImages(run, picture_table(run), rows, (0,) * len(rows), masked=True)
        schedule = run.schedule(
            recipe.steps, recipe.batch_size, schedule="linear", betas=(0.5, 0.999)
        )

        def sheet(step: int) -> None:
            _write_sheet(run, images, module.generator, step)

        run.train("pix2pixhd", module, images, schedule, sheet)
        method = ModelMethod(
            method="pix2pixhd",
            trained=f"{recipe.steps} steps of {recipe.batch_size} images",
            image_size=recipe.image_size,
            network=recipe.network.model_dump(mode="json"),
        )
        return run.save({"generator": module.generator}, method)


def _write_sheet(run: RivalRun, images: GanImages, net: MaskToImage, step: int) -> None:
    """Write a sheet of images of the first training masks."""
    shown = [images[row, row] for row in range(min(SHEET, len(images)))]
    layouts = np.stack([item["mask"][0].numpy() > 0.5 for item in shown])
    drawn = drawn_pairs(net, range(len(shown)), layouts, run.accelerator.device)
    titles = [record.label or "" for record in run.records[: len(shown)]]
    sheet = pair_sheet(drawn, layouts, layouts, titles)
    write_bytes(run.out / "sheets" / f"step-{step:07d}.png", encoded(sheet, "PNG"))


def open_pix2pixhd(recipe: AugmentRecipe) -> Opened:
    """Open a Pix2PixHD's model directory for a recipe of `didgen augment`.

    Raises DidgenError for a recipe that asks for images without masks, or for captions.
    """
    method = method_of(recipe.model, recipe.revision)
    named = f"The model {recipe.model} is a pix2pixhd, which"
    if recipe.images is not None:
        raise DidgenError(f"{named} draws pairs alone; set `images: null`.")
    if recipe.prompt == "caption":
        raise DidgenError(f"{named} reads no captions; set `prompt: prefix` (or `class`).")
    if method.image_size is None:
        raise DidgenError(f"{named} does not say its size; train it again.")
    network = Pix2PixHdNetwork.model_validate(method.network)
    net = MaskToImage(network)
    load_net(net, recipe.model, recipe.revision, "generator")
    decided = {"method": f"pix2pixhd, a port at {method.trained}, as the model says"}
    if not network.noise_channels:
        decided["seeds"] = "decide nothing, because a mask has one image without `noise_channels`"
    return Opened(PairsOfMasks(net), method.image_size, decided=decided)
