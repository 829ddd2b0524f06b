"""The map reader: its passes against whole passes of the UNet, its gradients against autograd."""

import pytest
import torch
from torch import Tensor

from didgen.augment.conditioning.p_tokens import end_positions, p_token_positions, tokenize
from didgen.augment.diffusion.attention import captured
from didgen.augment.diffusion.map_reader import Condition, MapReader
from didgen.augment.diffusion.noise import initial_noise
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.schedulers import scheduler_of
from didgen.augment.prompts.prompt import compose
from didgen.manifests.recipes.sampling import AttentionMaps

MAPS = AttentionMaps()


@pytest.fixture(scope="module")
def reader(sampler: LesionPairPipeline) -> MapReader:
    return MapReader(sampler.unet, scheduler_of(sampler, "ddim"), MAPS)


@pytest.fixture(scope="module")
def condition(sampler: LesionPairPipeline, disc: Tensor) -> Condition:
    """Two prompts with layouts of about 17 and 4 %."""
    ids = tokenize(sampler.tokenizer, [compose("melanoma."), compose(None)])
    with torch.no_grad():
        context = sampler.text_encoder(ids)[0]
    small = torch.zeros_like(disc)
    small[..., 40:90, 150:200] = 1
    positions = p_token_positions(sampler.tokenizer, ids)
    layouts = torch.cat([disc, small])
    return Condition(context, positions, end_positions(sampler.tokenizer, ids), layouts)


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return initial_noise([1, 2], (4, 32, 32))


@pytest.mark.parametrize("timestep", [0, 300, 999])
def test_maps_at_a_timestep_are_those_of_latents_noised_by_the_models_schedule(
    reader: MapReader, condition: Condition, latents: Tensor, timestep: int
) -> None:
    finished = 0.5 * initial_noise([8, 9], (4, 32, 32))
    with torch.no_grad():
        read = reader.noised(finished, timestep, latents, condition)
        times = torch.tensor([timestep, timestep])
        noisy = reader.scheduler.add_noise(finished, latents, times)
        with captured(reader.unet, 32, MAPS) as whole:
            whole.positions, whole.keep_self = condition.positions, True
            reader.unet(noisy, times, condition.context)
    torch.testing.assert_close(read.cross_maps(), whole.cross_maps(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(read.self_map(), whole.self_map(), rtol=1e-4, atol=1e-6)


def test_a_lesion_map_is_the_first_of_the_cross_maps(
    reader: MapReader, condition: Condition, latents: Tensor
) -> None:
    with torch.no_grad():
        found = reader.lesion_maps(latents, torch.tensor(600), condition)
        with captured(reader.unet, 32, MAPS) as whole:
            whole.positions = condition.positions
            reader.unet(latents, torch.tensor(600), condition.context)
    torch.testing.assert_close(found, whole.cross_maps()[:, 0], rtol=1e-4, atol=1e-6)
