"""Tests of the autoencoder: what its start computes, and that training improves on it."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from didgen.augment.diffusion.autoencoder import (
    LATENT_STD,
    AutoencoderLoss,
    decode,
    encode,
    levels,
    start_as_area_average,
)
from didgen.augment.diffusion.images import load_pixels
from didgen.augment.diffusion.small_model import build_autoencoder
from didgen.manifests.recipes.small_model import AutoencoderStage, Build, Perceptual
from didgen.manifests.sources.records import SourceManifest


@pytest.fixture(scope="module")
def images(manifest: SourceManifest) -> Tensor:
    """The training images of the tiny source, (9, 3, 128, 128) in [-1, 1]."""
    records = manifest.select(split="train")
    return torch.stack([load_pixels(manifest, record, 128) for record in records])


def test_levels_are_those_of_an_image_file() -> None:
    pixels = torch.tensor([-2.0, -1.0, -0.5, 0.0, 1.0, 7.0])
    assert levels(pixels).tolist() == [0, 0, 64, 128, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(levels(every / 127.5 - 1), every)


def started(stage: AutoencoderStage, images: Tensor) -> AutoencoderTiny:
    """An autoencoder at its start for these images."""
    torch.manual_seed(0)
    vae = build_autoencoder(stage)
    start_as_area_average(vae, F.avg_pool2d(images, 8) / 2 + 0.5)
    return vae


@pytest.fixture(scope="module")
def vae(shape: Build, images: Tensor) -> AutoencoderTiny:
    """The tiny model's autoencoder at its start; tests do not train it."""
    return started(shape.autoencoder, images)


def area_averages(images: Tensor) -> Tensor:
    """Mean colour in [0, 1] of every 8x8 area, (B, H/8, W/8, 3), by loops."""
    batch, _, height, width = images.shape
    out = torch.zeros(batch, height // 8, width // 8, 3, dtype=torch.float64)
    for row in range(height // 8):
        for column in range(width // 8):
            area = images[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].double()
            out[:, row, column] = area.mean((2, 3)) / 2 + 0.5
    return out


@torch.no_grad()
def test_latents_are_whitened_area_averages(vae: AutoencoderTiny, images: Tensor) -> None:
    latents = vae.encode(images).latents[:, :3].movedim(1, -1).reshape(-1, 3).double()
    colours = area_averages(images).reshape(-1, 3)
    torch.testing.assert_close(latents.mean(0), torch.zeros(3).double(), rtol=0, atol=2e-4)
    covariance = LATENT_STD**2 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(torch.cov(latents.T), covariance, rtol=0, atol=2e-3)
    # Whitened means a linear function of the average: distances are Mahalanobis distances.
    inverse = torch.linalg.inv(torch.cov(colours.T))
    apart = colours[:200] - colours[-200:]
    expected = LATENT_STD * (apart @ inverse * apart).sum(-1).sqrt()
    found = (latents[:200] - latents[-200:]).norm(dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_an_area_average_sees_its_own_area_alone(vae: AutoencoderTiny, images: Tensor) -> None:
    changed = images[:1].clone()
    changed[..., 40:48, 64:72] = -changed[..., 40:48, 64:72]
    one, other = (vae.encode(batch).latents[0, :3] for batch in (images[:1], changed))
    moved = (one - other).abs().amax(0) > 1e-5
    assert moved.nonzero().tolist() == [[5, 8]]


@torch.no_grad()
def test_a_constant_image_comes_back_nearly_constant(vae: AutoencoderTiny, images: Tensor) -> None:
    colour = images.mean((0, 2, 3))[:, None, None]
    constant = colour.expand(1, 3, 128, 128)
    decoded = vae.decode(vae.encode(constant).latents).sample
    # Zero padding darkens the border; the mean colour lies where the tanh is linear.
    inside = decoded[..., 16:-16, 16:-16]
    torch.testing.assert_close(inside, constant[..., 16:-16, 16:-16], rtol=0, atol=0.01)


@torch.no_grad()
def test_the_start_is_already_a_blurred_copy(vae: AutoencoderTiny, images: Tensor) -> None:
    decoded = vae.decode(vae.encode(images).latents).sample[..., 16:-16, 16:-16]
    small = F.avg_pool2d(images, 8)
    blurred = F.interpolate(small, scale_factor=8, mode="bilinear")[..., 16:-16, 16:-16]
    error = (decoded - blurred).abs().mean()
    assert error < 0.25 * images.std()
    assert error < 0.05


@torch.no_grad()
def test_colours_without_contrast_do_not_break_the_start(shape: Build) -> None:
    grey = torch.full((2, 3, 64, 64), 0.2)
    vae = started(shape.autoencoder, grey)
    assert all(value.isfinite().all() for value in vae.state_dict().values())
    decoded = vae.decode(vae.encode(grey).latents).sample[..., 16:-16, 16:-16]
    torch.testing.assert_close(decoded, grey[..., 16:-16, 16:-16], rtol=0, atol=0.02)


def test_the_loss_is_finite_and_says_what_it_is_made_of(
    vae: AutoencoderTiny, images: Tensor
) -> None:
    scalars = AutoencoderLoss(vae)({"pixels": images})
    assert all(value.isfinite() for value in scalars.values())
    with torch.no_grad():
        latents = vae.encode(images).latents
        output = vae.decode(latents).sample
    error = output - images
    strays = sum(
        (latents[:, c].std() - LATENT_STD) ** 2 + latents[:, c].mean() ** 2 for c in range(4)
    )
    expected = error.abs().mean() + 0.1 * (1 - scalars["ssim"]) + strays / 4
    torch.testing.assert_close(scalars["loss"], expected)
    assert 0 < scalars["ssim"] < 1
    peak = 10 * torch.log10(2.0**2 / error.square().mean())
    torch.testing.assert_close(scalars["psnr"], peak)


def test_the_similarity_is_exact_under_autocast(vae: AutoencoderTiny, images: Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        said = AutoencoderLoss(vae)({"pixels": images})["ssim"]
        output = vae.decode(vae.encode(images).latents).sample.float()
    expected = structural_similarity_index_measure(output, images, data_range=2.0)
    torch.testing.assert_close(said, expected, atol=5e-3, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        rough = structural_similarity_index_measure(output, images, data_range=2.0)
    assert isinstance(rough, Tensor) and isinstance(expected, Tensor)
    assert abs(rough - expected) > 2e-2


def test_training_lowers_the_loss(shape: Build, images: Tensor) -> None:
    module = AutoencoderLoss(started(shape.autoencoder, images))
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    batch = {"pixels": images[:4, :, 32:96, 32:96]}
    values = []
    for _ in range(30):
        loss = module(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert sum(values[-3:]) < 0.9 * sum(values[:3])


def test_the_perceptual_distance_is_added_by_its_weight(
    vae: AutoencoderTiny, images: Tensor, perceptual: Perceptual
) -> None:
    asked = perceptual.model_copy(update={"weight": 0.5})
    plain = AutoencoderLoss(vae)({"pixels": images})
    module = AutoencoderLoss(vae, asked)
    scalars = module({"pixels": images})
    with torch.no_grad():
        output = vae.decode(vae.encode(images).latents).sample
        assert module.perceptual is not None
        distance = module.perceptual(output, images).mean()
    torch.testing.assert_close(scalars["perceptual"], distance)
    torch.testing.assert_close(scalars["loss"], plain["loss"] + 0.5 * distance)
    trained = {name for name, value in module.named_parameters() if value.requires_grad}
    assert trained == {f"vae.{name}" for name, _ in vae.named_parameters()}


def test_latents_of_both_kinds_of_autoencoder_are_scaled_and_decoded(
    built: StableDiffusionPipeline,
) -> None:
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.manual_seed(0)
    kl = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.25,
    ).eval()
    with torch.no_grad():
        found = encode(kl, pixels)
        expected = (kl.encode(pixels).latent_dist.mean - 0.25) * 0.5
        torch.testing.assert_close(found, expected)
        assert found.shape == (2, 4, 8, 8)
        restored = kl.decode(kl.encode(pixels).latent_dist.mean).sample
        torch.testing.assert_close(decode(kl, found), restored)
        tiny = encode(built.vae, pixels)
        raw = built.vae.encode(pixels).latents
        torch.testing.assert_close(tiny, raw * built.vae.config.scaling_factor)
        torch.testing.assert_close(decode(built.vae, tiny), built.vae.decode(raw).sample)
        # A cache writes latents to safetensors, which takes no other order.
        assert found.is_contiguous()
        assert tiny.is_contiguous()
