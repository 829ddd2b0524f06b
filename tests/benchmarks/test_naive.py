"""Tests of the naive baseline: it draws what the pipeline draws, so that times compare."""

import numpy as np
import pytest
import torch

from benchmarks.models import PROMPT, disc, load
from benchmarks.naive import draw_naively
from didgen.augment.diffusion.pipeline import LesionPairs
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.manifests.recipes.sampling import Annotation


@pytest.mark.slow
def test_the_naive_baseline_draws_the_same_pairs() -> None:
    pipeline = load("tiny")
    pipeline.scheduler = scheduler_of(pipeline, "ddim")
    with torch.no_grad():
        for name, parameter in pipeline.unet.named_parameters():
            if name.endswith(("to_q.weight", "to_k.weight")):
                parameter.mul_(3)

    def seeds() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (3, 5)]

    # The maps of random weights are flat, and their masks would be empty.
    ours = pipeline(
        [PROMPT] * 2,
        disc(2),
        num_inference_steps=2,
        generator=seeds(),
        annotation=Annotation(flat=0.0),
        output_type="np",
    )
    latents, masks = draw_naively(pipeline, [PROMPT] * 2, disc(2), 2, seeds())
    with torch.no_grad():
        pixels = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    images = ((pixels.clamp(-1, 1) + 1) * 127.5).round().movedim(1, -1).numpy()
    assert isinstance(ours, LesionPairs)
    assert np.abs(images - 255 * ours.images).max() <= 1.01
    # Random weights give maps of little contrast, whose threshold a rounding error can move.
    assert (masks.numpy() == ours.masks).mean() > 0.98
