"""Classifier-free guidance: two predictions of a step made one, at some noise levels, or projected.

Notable choices:
- The prediction that is led away from is the model's own without a prompt, or a weaker model's with
  it (autoguidance, Karras et al., arXiv:2406.02507): both are D0 of D0 + w (D1 - D0).
- The projection is that of diffusers. It takes predictions of clean latents, so that it means the
  same whether a model predicts noise, velocity or latents.
"""

from dataclasses import dataclass
from typing import Any

from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor

from didgen.manifests.recipes.sampling import ProjectedGuidance


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance of a step; on: whether there are predictions to lead away from."""

    on: bool
    scale: float
    rescale: float = 0.0


@dataclass(frozen=True)
class CleanLatents:
    """Clean latents as a line of noisy ones and a model's prediction: a z + b p.

    a, b: by the noise schedule and the kind of prediction; z: (B, 4, h, w), of variance 1.
    """

    a: float
    b: float
    noisy: Tensor

    @classmethod
    def of(cls, scheduler: Any, timestep: Tensor, noisy: Tensor) -> "CleanLatents":
        """Those at a timestep; noisy: as the model is given them."""
        # Of a schedule that ends in noise alone diffusers' samplers take this much for nothing.
        share = max(float(scheduler.alphas_cumprod[int(timestep)]), 2**-24)
        signal, noise = share**0.5, (1 - share) ** 0.5
        a, b = {
            "epsilon": (1 / signal, -noise / signal),
            "v_prediction": (signal, -noise),
            "sample": (0.0, 1.0),
        }[scheduler.config.prediction_type]
        return cls(a, b, noisy)

    def __call__(self, prediction: Tensor) -> Tensor:
        return self.a * self.noisy + self.b * prediction

    def back(self, clean: Tensor) -> Tensor:
        """The prediction that would have given these clean latents."""
        return (clean - self.a * self.noisy) / self.b


def noise_level(scheduler: Any, timestep: Tensor) -> float:
    """sigma = sqrt((1 - abar) / abar) of a timestep; infinite where nothing of an image is left."""
    share = float(scheduler.alphas_cumprod[int(timestep)])
    return float("inf") if share == 0 else ((1 - share) / share) ** 0.5


def within(level: float, interval: tuple[float, float] | None) -> bool:
    """Whether a noise level is one at which there is guidance (arXiv:2404.07724)."""
    return interval is None or interval[0] < level <= interval[1]


def classifier_free(plain: Tensor, prompted: Tensor, scale: float, rescale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022), rescaled (Lin et al., WACV 2024, Section 3.4).

    plain, prompted: predictions (B, C, h, w) without and with the prompt; rescale: in [0, 1], how
    far the guided prediction's deviation is brought to that of the prompted one, sample by sample.
    """
    prediction = plain + scale * (prompted - plain)
    return rescale_noise_cfg(prediction, prompted, rescale) if rescale else prediction


class Projected:
    """APG (arXiv:2410.02416, Algorithm 1) of a batch, whose momentum goes from step to step."""

    def __init__(self, asked: ProjectedGuidance) -> None:
        self.asked = asked
        self._momentum = MomentumBuffer(asked.momentum) if asked.momentum else None

    def guided(
        self, plain: Tensor, prompted: Tensor, free: ClassifierFree, clean: CleanLatents
    ) -> Tensor:
        """D1 + (w - 1) (orthogonal + eta parallel) of the bounded update D1 - D0, as a prediction.

        plain, prompted: predictions (B, C, h, w); parallel and orthogonal to D1, sample by sample.
        """
        latents = normalized_guidance(
            clean(prompted),
            clean(plain),
            free.scale - 1,
            self._momentum,
            self.asked.parallel,
            self.asked.norm,
            use_original_formulation=True,
        )
        prediction = clean.back(latents)
        if free.rescale:
            prediction = rescale_noise_cfg(prediction, prompted, free.rescale)
        return prediction
