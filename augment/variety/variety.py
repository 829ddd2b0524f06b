"""The variety of a sampling: what a recipe asks of its steps beside plain guidance."""

from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from didgen.manifests.recipes.sampling import ConditionAnnealing, ProjectedGuidance, Sampling


@dataclass(frozen=True)
class WeakerModel:
    """A weaker version of a model, whose prediction for the same prompt is led away from."""

    unet: UNet2DConditionModel
    text_encoder: nn.Module

    def to(self, device: str, dtype: torch.dtype) -> None:
        """Bring it to a device and its number format."""
        for part in (self.unet, self.text_encoder):
            part.to(device, dtype)

    def texts(self, input_ids: Tensor) -> Tensor:
        """Its embeddings (B, T, C) of prompts, by the token ids of the model that it weakens."""
        embeds: Tensor = self.text_encoder(input_ids.to(self.unet.device))[0]
        return embeds


@dataclass(frozen=True)
class Variety:
    """What is asked for, as `sampling` names it; as it stands, plain classifier-free guidance.

    interval: noise levels at which there is guidance, the lower one left out; weaker: what takes
    the place of the model without a prompt.
    """

    interval: tuple[float, float] | None = None
    apg: ProjectedGuidance = field(default_factory=ProjectedGuidance)
    cads: ConditionAnnealing = field(default_factory=ConditionAnnealing)
    weaker: WeakerModel | None = None

    @classmethod
    def of(cls, sampling: Sampling, weaker: WeakerModel | None = None) -> "Variety":
        """As a recipe asks for it, with the model that it names."""
        return cls(sampling.cfg_interval, sampling.apg, sampling.cads, weaker)
