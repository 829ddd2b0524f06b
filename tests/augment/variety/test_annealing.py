"""Annealed prompts, against the formula written out for each sample."""

import numpy as np
import pytest
import torch

from didgen.augment.variety.annealing import annealed, wholeness
from didgen.manifests.recipes.sampling import ConditionAnnealing

ASKED = ConditionAnnealing(noise=0.25, whole_until=0.6, none_from=0.9)


@pytest.mark.parametrize(
    ("time", "share"), [(0, 1), (0.6, 1), (0.7, 2 / 3), (0.75, 0.5), (0.9, 0), (1, 0)]
)
def test_a_prompt_becomes_whole_along_a_line(time: float, share: float) -> None:
    assert wholeness(ASKED, time) == pytest.approx(share)
    assert wholeness(ConditionAnnealing(), time) == 1


@pytest.mark.parametrize("rescale", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_noise_is_added_and_the_sum_rescaled_sample_by_sample(rescale: float, share: float) -> None:
    asked = ASKED.model_copy(update={"rescale": rescale})
    random = torch.Generator().manual_seed(0)
    context, noise = (torch.randn(2, 5, 6, generator=random) for _ in range(2))
    context = 3 * context + 1
    found = annealed(context, noise, share, asked).numpy()
    for place in (0, 1):
        y, n = context[place].numpy(), noise[place].numpy()
        noisy = np.sqrt(share) * y + 0.25 * np.sqrt(1 - share) * n
        standard = (noisy - noisy.mean()) / noisy.std(ddof=1)
        wanted = rescale * (standard * y.std(ddof=1) + y.mean()) + (1 - rescale) * noisy
        np.testing.assert_allclose(found[place], wanted, rtol=1e-4, atol=1e-5)
