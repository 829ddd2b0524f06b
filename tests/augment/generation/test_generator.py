"""Tests of the generator of the method: guided diffusion."""

import numpy as np
import pytest

from didgen.augment.device import Device
from didgen.augment.diffusion.pipeline import LesionPairPipeline, draw
from didgen.augment.generation.generator import Generator, GuidedDiffusion
from didgen.manifests.recipes.sampling import Sampling
from tests.contracts.generator import GeneratorContract

SAMPLING = Sampling(steps=2)


class TestGuidedDiffusion(GeneratorContract):
    attentive = True

    @pytest.fixture
    def generator(self, sampler: LesionPairPipeline) -> Generator:
        return GuidedDiffusion(sampler, SAMPLING)

    def test_it_draws_what_its_pipeline_draws(
        self, generator: Generator, device: Device, sampler: LesionPairPipeline
    ) -> None:
        planned = self.planned("images")
        prompts, seeds = [one.prompt for one in planned], [one.seed for one in planned]
        wanted = draw(sampler, prompts, seeds, SAMPLING)
        found = self.draw(generator, device, planned)
        np.testing.assert_array_equal(found.images, np.asarray(wanted.images))

    def test_attention_has_a_map_of_each_step_that_is_shown(
        self, generator: Generator, device: Device
    ) -> None:
        planned = self.planned("pairs")
        (history,) = self.draw(generator, device, planned, self.layouts(), 1).attention
        assert (history.steps, history.of) == ((1, 2), 2)
        assert history.maps.shape == (2, 16, 16) and history.propagated.shape == (32, 32)
