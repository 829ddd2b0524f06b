"""Annealed prompts: CADS (arXiv:2310.17347), noise on a prompt's embeddings, less at each step."""

import math

from torch import Tensor

from didgen.manifests.recipes.sampling import ConditionAnnealing


def wholeness(asked: ConditionAnnealing, time: float) -> float:
    """gamma: the share of a prompt that is left at a time in [0, 1]; 1 without noise."""
    if asked.noise == 0 or time <= asked.whole_until:
        return 1.0
    if time >= asked.none_from:
        return 0.0
    return (asked.none_from - time) / (asked.none_from - asked.whole_until)


def annealed(context: Tensor, noise: Tensor, share: float, asked: ConditionAnnealing) -> Tensor:
    """sqrt(gamma) y + s sqrt(1 - gamma) n, brought back to the mean and deviation of y.

    context, noise: (B, T, C), standard normal noise; share: gamma; each sample by itself.
    """
    noisy = math.sqrt(share) * context + asked.noise * math.sqrt(1 - share) * noise
    own, mixed = ((x.mean((1, 2), True), x.std((1, 2), keepdim=True)) for x in (context, noisy))
    rescaled = (noisy - mixed[0]) / mixed[1] * own[1] + own[0]
    return asked.rescale * rescaled + (1 - asked.rescale) * noisy
