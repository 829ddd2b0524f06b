"""Schedulers: the samplers that recipes name, and the step sizes eta of the guidance."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)

from didgen.augment.models.configs import check_pndm
from didgen.manifests.recipes.sampling import Guidance

SCHEDULERS = {
    "dpm++": DPMSolverMultistepScheduler,
    "dpm++-sde": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "ddim": DDIMScheduler,
    "pndm": PNDMScheduler,
}


def step_sizes(guidance: Guidance, timesteps: Sequence[int]) -> list[float]:
    """The eta of every timestep, 0 where it is not guided; a part of a step is guided as a whole.

    Where a timestep comes twice, PNDM takes the step before it once more, from the latents that
    it kept. Moving those at hand would do nothing, so the first of the two is not guided; and of a
    guidance that moves results, the step before it is not.
    """
    etas = [0.0] * len(timesteps)
    if not (guidance.cross_attention or guidance.self_attention):
        return etas
    twice = {i for i, t in enumerate(timesteps) if timesteps[i + 1 : i + 2] == [t]}
    lost = twice if guidance.update == "before" else {place - 1 for place in twice}
    taken = [place for place in range(len(timesteps)) if place not in lost]
    # Rounded first: 0.1 of 30 steps is a little more than 3.
    first = math.floor(round(guidance.start * len(taken), 6))
    last = math.ceil(round(guidance.until * len(taken), 6))
    line = np.linspace(1, 0.5, len(taken)) if guidance.decay == "sqrt" else np.ones(len(taken))
    for place in range(first, last, guidance.every):
        etas[taken[place]] = float(guidance.eta * math.sqrt(line[place]))
    return etas


def keep_moves(scheduler: Any, etas: Sequence[float], update: str) -> None:
    """Have a scheduler keep what a guidance moves; etas: those of its steps.

    UniPC's corrector takes a step anew from where it began, and would lose what was moved at its
    end. It rests there, and the step stands as UniPC's predictor leaves it.
    """
    if not hasattr(scheduler, "disable_corrector"):
        return
    first = (scheduler.begin_index or 0) - (update == "before")
    moved = [first + place for place, eta in enumerate(etas) if eta > 0]
    scheduler.disable_corrector = [*scheduler.config.disable_corrector, *moved]


def scheduler_of(pipeline: StableDiffusionPipeline, name: str) -> Any:
    """A fresh scheduler of the given kind for the model's own noise schedule."""
    config = pipeline.scheduler.config
    if name.startswith("dpm++"):
        # What the last batch was drawn by stands in the config, and it may be the other form.
        form = "sde-dpmsolver++" if name == "dpm++-sde" else "dpmsolver++"
        return DPMSolverMultistepScheduler.from_config(config, algorithm_type=form)
    if name == "ddim" and "clip_sample" not in config:
        # A model saved with another scheduler says nothing, and DDIM clips unasked, as for pixels.
        return DDIMScheduler.from_config(config, clip_sample=False)
    if name != "pndm":
        return SCHEDULERS[name].from_config(config)
    check_pndm(config)
    # As in every release of Stable Diffusion: Runge-Kutta steps would come on top of `steps`.
    return PNDMScheduler.from_config(config, skip_prk_steps=True)
