"""Starts of variations, against the noise schedule."""

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from didgen.augment.variety.start import Start


@pytest.mark.parametrize(
    "kind", [DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler]
)
@pytest.mark.parametrize(("strength", "taken"), [(0.05, 1), (0.3, 3), (0.31, 4), (1.0, 10)])
def test_a_start_has_the_noise_of_the_first_step_that_is_taken(
    kind: type[DDIMScheduler], strength: float, taken: int
) -> None:
    scheduler = kind()
    scheduler.set_timesteps(10)
    random = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 4, 3, 3, generator=random) for _ in range(2))
    first, noisy = Start(clean, strength).begin(scheduler, noise)
    assert first == 10 - taken
    share = scheduler.alphas_cumprod[scheduler.timesteps[first]]
    wanted = share.sqrt() * clean + (1 - share).sqrt() * noise
    torch.testing.assert_close(noisy, wanted, rtol=1e-3, atol=1e-3)
