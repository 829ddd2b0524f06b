"""The autoencoder: to latents and back, and the warm start and training loss of a built one.

Notable choices:
- AutoencoderTiny has no normalisation layers, so it can *start* as something useful: the encoder
  as the area average over 8x8 pixels in whitened colours, the decoder as its bilinear
  enlargement. Training then only has to add what the average loses.
- Latents keep a known scale and centre by a penalty, not by a KL term: the model has no posterior.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from PIL import Image
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from didgen.augment.device import exact
from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.manifests.recipes.small_model import Perceptual

LATENT_STD = 0.5
"""Latents are kept at this scale, where the decoder's `3 tanh(z / 3)` is still near to linear."""


def encode(vae: AutoencoderKL | AutoencoderTiny, pixels: Tensor) -> Tensor:
    """Scaled latents (B, 4, H/8, W/8) of images (B, 3, H, W) in [-1, 1]; a posterior's mode."""
    return encode_posterior(vae, pixels)[0]


def encode_posterior(
    vae: AutoencoderKL | AutoencoderTiny, pixels: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Mode and deviation of the latents of images, scaled like those of `encode`.

    The deviation is None for an autoencoder without a posterior, such as AutoencoderTiny.
    """
    encoded = vae.encode(_channels_last(pixels))
    shift, scale = getattr(vae.config, "shift_factor", None) or 0.0, vae.config.scaling_factor
    if hasattr(encoded, "latents"):
        return ((encoded.latents - shift) * scale).contiguous(), None
    posterior = encoded.latent_dist
    mode = ((posterior.mode() - shift) * scale).contiguous()
    return mode, (posterior.std * scale).contiguous()


def decode(vae: AutoencoderKL | AutoencoderTiny, latents: Tensor) -> Tensor:
    """Images (B, 3, H, W) float32, about [-1, 1], of scaled latents (B, 4, H/8, W/8)."""
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    raw = latents / vae.config.scaling_factor + shift
    return vae.decode(_channels_last(raw.to(vae.dtype))).sample.float()


def levels(pixels: Tensor) -> Tensor:
    """Decoded images in [-1, 1] as uint8 levels of the same shape; what lies beyond is cut."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _channels_last(images: Tensor) -> Tensor:
    """The same tensor, stored pixel by pixel: a CPU then goes through AutoencoderTiny in about half
    the time (docs/experiments: 2026-11-28, channels last), and each layer hands the order on."""
    return images.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def start_as_area_average(vae: AutoencoderTiny, thumbnails: Tensor) -> None:
    """Set the weights so that encode averages areas and decode enlarges bilinearly.

    thumbnails: (B, 3, h, w) in [0, 1], training images reduced by the autoencoder's factor; their
    colour covariance gives the whitening. Every channel that the average does not need keeps its
    random weights as features, but adds nothing to the output yet.
    """
    colours = thumbnails.double().movedim(1, -1).reshape(-1, 3)
    mean = colours.mean(0)
    variances, axes = torch.linalg.eigh(torch.cov(colours.T))
    deviations = variances.clamp_min(1e-8).sqrt() / LATENT_STD
    whiten = (axes / deviations).T
    colour = (axes * deviations) @ torch.eye(3, dtype=axes.dtype)

    encoder, decoder = vae.encoder.layers, vae.decoder.layers
    for block in [*encoder, *decoder]:
        if hasattr(block, "conv"):
            block.conv[-1].weight.zero_()
            block.conv[-1].bias.zero_()
    encoder_convs = [layer for layer in encoder if isinstance(layer, nn.Conv2d)]
    decoder_convs = [layer for layer in decoder if isinstance(layer, nn.Conv2d)]

    identity = torch.zeros(3, 3)
    identity[1, 1] = 1
    # With stride 2 and padding 1 the last two taps of each axis are one 2x2 area.
    area = torch.zeros(3, 3)
    area[1:, 1:] = 0.25
    # After nearest enlargement these weights give bilinear interpolation.
    taps = torch.tensor([0.25, 0.5, 0.25])
    bilinear = taps[:, None] * taps

    for conv, kernel in [(encoder_convs[0], identity)] + [(c, area) for c in encoder_convs[1:-1]]:
        _carry_colours(conv, kernel)
    to_latents, from_latents, to_pixels = encoder_convs[-1], decoder_convs[0], decoder_convs[-1]
    assert to_latents.bias is not None
    assert from_latents.bias is not None
    assert to_pixels.bias is not None
    to_latents.weight[:3] = 0
    to_latents.weight[:3, :3, 1, 1] = whiten.to(to_latents.weight)
    to_latents.bias[:3] = -(whiten @ mean).to(to_latents.bias)

    for conv in decoder_convs[1:-1]:
        _carry_colours(conv, bilinear)
    from_latents.weight[:3] = 0
    from_latents.weight[:3, :3, 1, 1] = colour.to(from_latents.weight)
    from_latents.bias[:3] = mean.to(from_latents.bias)
    to_pixels.weight.zero_()
    to_pixels.bias.zero_()
    for channel in range(3):
        to_pixels.weight[channel, channel, 1, 1] = 1


def _carry_colours(conv: nn.Conv2d, kernel: Tensor) -> None:
    """Make output channels 0 to 2 the filtered input channels 0 to 2 and nothing else."""
    conv.weight[:3] = 0
    for channel in range(3):
        conv.weight[channel, channel] = kernel.to(conv.weight)
    if conv.bias is not None:
        conv.bias[:3] = 0


class AutoencoderLoss(nn.Module):
    """L1 + (1 - SSIM) between an image and its reconstruction, and a penalty on the latents.

    Each channel of the latents is kept at `LATENT_STD` and about 0, where the noise of diffusion
    meets all channels alike.

    With `perceptual`, its distance is added by its weight. forward takes {"pixels": (B, 3, H, W) in
    [-1, 1]} and returns named scalars; "loss" is the sum that is minimised, "psnr" in dB for a
    range of 2.
    """

    def __init__(self, vae: AutoencoderTiny, perceptual: Perceptual | None = None) -> None:
        super().__init__()
        self.vae = vae
        self.perceptual = PerceptualDistance(perceptual) if perceptual else None

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        pixels = _channels_last(batch["pixels"])
        latents = self.vae.encode(pixels).latents
        output = self.vae.decode(latents).sample.float()
        l1 = F.l1_loss(output, pixels)
        # A difference of two means of squares, of which half precision leaves little.
        with exact(pixels.device):
            ssim = structural_similarity_index_measure(output, pixels, data_range=2.0)
        assert isinstance(ssim, Tensor)
        deviation, centre = torch.std_mean(latents.float(), (0, 2, 3))
        strays = (deviation - LATENT_STD).square().mean() + centre.square().mean()
        mse = F.mse_loss(output, pixels).detach()
        loss = l1 + 0.1 * (1 - ssim) + strays
        scalars = {
            "l1": l1.detach(),
            "ssim": ssim.detach(),
            "psnr": 10 * torch.log10(4 / mse.clamp_min(1e-12)),
        }
        if self.perceptual is not None:
            distance = self.perceptual(output, pixels).mean()
            loss = loss + self.perceptual.weight * distance
            scalars["perceptual"] = distance.detach()
        return {"loss": loss, **scalars}


OUTPUTS = ("pil", "np", "pt", "latent")
"""What images are given as."""


def check_output(output_type: str) -> None:
    """Raise ValueError for a name that is none of `OUTPUTS`."""
    if output_type not in OUTPUTS:
        raise ValueError(f"output_type is pil, np, pt or latent, not {output_type}")


def shown(vae: Any, latents: Tensor, output_type: str) -> Any:
    """Images of finished latents (B, 4, h, w), as one of `OUTPUTS`."""
    if output_type == "latent":
        return latents
    images = (decode(vae, latents) / 2 + 0.5).clamp(0, 1)
    if output_type == "pt":
        return images
    arrays = images.movedim(1, -1).cpu().numpy()
    if output_type == "np":
        return arrays
    return [Image.fromarray(image) for image in np.rint(255 * arrays).astype(np.uint8)]
