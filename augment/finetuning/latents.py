"""The latents that a finetuning sees: encoded in float32, as a posterior's mode or drawn from it.

Notable choices:
- Encoding stays out of autocast and of TF32, whatever the training computes in. In bf16 the bundled
  model's latents of 32 real images are off by 0.043 (root mean square; their deviation is 1.3).
- The cache keeps them as fp16. That moves them by 0.0003, where bf16 of the same size takes 0.0022.
- What is kept of a posterior is its mode and its deviation; the noise between them is drawn with
  the training sample, so that a cached image has other latents each time.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from didgen.augment.device import exact
from didgen.augment.diffusion.autoencoder import encode_posterior
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.finetune import FinetuneRecipe

KEPT = torch.float16
"""How latents are kept in the cache, whatever the mixed precision."""


@torch.no_grad()
def encode_exactly(vae: AutoencoderKL | AutoencoderTiny, pixels: Tensor) -> dict[str, Tensor]:
    """`latents` (B, 4, H/8, W/8) of images (B, 3, H, W) in [-1, 1], the posterior's mode.

    Where the autoencoder has a posterior, its `deviation` of the same shape comes along.
    """
    with exact(pixels.device), _without_tf32():
        mode, deviation = encode_posterior(vae, pixels)
    return {"latents": mode} | ({} if deviation is None else {"deviation": deviation})


def seen_latents(encoded: Mapping[str, Tensor]) -> Tensor:
    """The latents (B, 4, h, w) float32 that a step of training sees of what was encoded.

    encoded: `latents`, and where they are drawn `deviation` and `posterior_noise`, all of a shape.
    """
    latents = encoded["latents"].float()
    if "posterior_noise" in encoded:
        latents = latents + encoded["deviation"].float() * encoded["posterior_noise"]
    return latents


def posterior_noise(seed: int, number: int, side: int) -> Tensor:
    """The noise (4, side, side) by which training sample `number` of a run draws its latents."""
    # No stream of its own draws else: the sample's prompt, timestep and noise come from
    # [seed, number], and stay what they are where the mode is taken.
    rng = np.random.default_rng([seed, number, 1])
    return torch.from_numpy(rng.standard_normal((4, side, side), dtype=np.float32))


def check_posterior(recipe: FinetuneRecipe, vae: AutoencoderKL | AutoencoderTiny) -> None:
    """Raise DidgenError where a recipe draws from a posterior that its model does not have."""
    if recipe.posterior == "sample" and not isinstance(vae, AutoencoderKL):
        raise DidgenError(
            f"The autoencoder of {recipe.model}, {type(vae).__name__}, has no posterior to draw "
            "from; set `posterior: mode`."
        )


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Convolutions of a GPU in float32 for a while, where torch takes TF32 unasked."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    ):
        yield
