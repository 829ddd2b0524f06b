"""Perceptual distance: what a network of timm sees of two images, layer by layer."""

import timm
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from torch import Tensor, nn, tensor

from didgen.manifests.errors import DidgenError, in_short
from didgen.manifests.recipes.small_model import Perceptual


class PerceptualDistance(nn.Module):
    """Eq. 1 of Zhang et al. (CVPR 2018) with all channels weighing alike: LPIPS without its heads.

    The features of each stage become unit vectors at every place; the distance is their squared
    difference, summed over channels and stages, averaged over places. forward takes two batches
    (B, 3, H, W) in [-1, 1] and returns (B,), from 0 to 4 for each stage. Before the network sees
    them, images are averaged down by `downsample`. The network is fixed, and stays in evaluation
    mode. `weight` is the distance's in a loss.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, asked: Perceptual) -> None:
        super().__init__()
        self.network = _build(asked).requires_grad_(False)
        self.downsample, self.weight = asked.downsample, asked.weight
        config = resolve_model_data_config(self.network)
        for name, values in (("mean", config["mean"]), ("deviation", config["std"])):
            self.register_buffer(name, tensor(values)[:, None, None], persistent=False)
        self.train(False)

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """Batch normalisation that learned from the images would move what is compared."""
        return super().train(False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        distances = [
            (left - right).square().sum(1).mean((1, 2))
            for left, right in zip(self._features(one), self._features(other), strict=True)
        ]
        return sum(distances[1:], distances[0])

    def _features(self, images: Tensor) -> list[Tensor]:
        smaller = F.avg_pool2d(images, self.downsample)
        maps = self.network((smaller / 2 + 0.5 - self.mean) / self.deviation)
        return [F.normalize(one.float(), dim=1, eps=1e-3) for one in maps]


def _build(asked: Perceptual) -> nn.Module:
    """The stages of a network with the weights of a file; DidgenError for what does not fit."""
    if not timm.is_model(asked.network):
        raise DidgenError(f"timm has no network {asked.network}; correct `perceptual.network`.")
    if asked.weights.suffix != ".safetensors" or not asked.weights.is_file():
        raise DidgenError(
            f"{asked.weights} is no safetensors file that is there; correct `perceptual.weights`."
        )
    try:
        network = timm.create_model(
            asked.network, pretrained=False, features_only=True, out_indices=asked.stages
        )
        # The file has the whole network, of which the stages are the first part.
        missing = network.load_state_dict(load_file(asked.weights), strict=False).missing_keys
        if missing:
            raise ValueError(f"it lacks {missing[0]}")
    except (SafetensorError, RuntimeError, ValueError, IndexError, AssertionError) as error:
        reason = in_short(error)
        raise DidgenError(
            f"{asked.weights} does not fit the stages {', '.join(map(str, asked.stages))} of "
            f"{asked.network} ({reason}); name this network's weights in `perceptual.weights`."
        ) from None
    return network
