"""Tests of the latents that training sees: float32 under any autocast, mode or drawn posterior."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor
from torch.utils.data import default_collate

from didgen.augment.diffusion.autoencoder import encode, encode_posterior
from didgen.augment.diffusion.model_folder import save_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.diffusion_run import fill_cache
from didgen.augment.finetuning.finetune import finetune
from didgen.augment.finetuning.latents import (
    KEPT,
    check_posterior,
    encode_exactly,
    posterior_noise,
    seen_latents,
)
from didgen.augment.finetuning.objective import RegionLoss
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.recipes import finetune_recipe

TENSORS = {"pixels", "mask", "noise"}
"""The tensors among what a training sample holds."""


@pytest.fixture(scope="module")
def kl() -> AutoencoderKL:
    """A tiny autoencoder with a posterior, whose latents are moved and scaled."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.25,
    ).eval()


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """Two images of noise."""
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("kind", ["tiny", "kl"])
def test_autocast_does_not_reach_the_latents(
    built: StableDiffusionPipeline, kl: AutoencoderKL, pixels: Tensor, kind: str
) -> None:
    vae = kl if kind == "kl" else built.vae
    with torch.no_grad():
        expected = encode(vae, pixels)
    with torch.autocast("cpu", torch.bfloat16):
        found = encode_exactly(vae, pixels)
        with torch.no_grad():
            rounded = encode(vae, pixels).float()
    assert found.keys() == ({"latents", "deviation"} if kind == "kl" else {"latents"})
    assert found["latents"].dtype == torch.float32
    assert torch.equal(found["latents"], expected)

    def error(latents: Tensor) -> float:
        return ((latents - expected).square().mean().sqrt() / expected.std()).item()

    kept = error(found["latents"].to(KEPT).float())
    assert kept < 5e-4
    # One rounding to bf16 alone, of 8 bits and not 11, is 8 times as far off.
    assert error(rounded) > 4 * kept
    assert torch.backends.cudnn.allow_tf32


def test_drawn_latents_are_those_that_diffusers_samples(kl: AutoencoderKL, pixels: Tensor) -> None:
    with torch.no_grad():
        posterior = kl.encode(pixels).latent_dist
        sampled = posterior.sample(torch.Generator().manual_seed(7))
        mode, deviation = encode_posterior(kl, pixels)
    noise = torch.randn(mode.shape, generator=torch.Generator().manual_seed(7))
    assert deviation is not None
    assert deviation.min() > 0
    found = seen_latents({"latents": mode, "deviation": deviation, "posterior_noise": noise})
    torch.testing.assert_close(found, (sampled - 0.25) * 0.5)
    assert torch.equal(seen_latents({"latents": mode}), mode)
    nothing = torch.zeros_like(noise)
    still = {"latents": mode, "deviation": deviation, "posterior_noise": nothing}
    assert torch.equal(seen_latents(still), mode)


def test_noise_belongs_to_its_sample() -> None:
    one = posterior_noise(3, 5, 8)
    assert one.shape == (4, 8, 8)
    assert torch.equal(one, posterior_noise(3, 5, 8))
    for other in (posterior_noise(3, 6, 8), posterior_noise(4, 5, 8)):
        assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < 0.3
    many = torch.stack([posterior_noise(0, number, 8) for number in range(200)])
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


def test_what_else_is_drawn_does_not_see_the_posterior(manifest: SourceManifest) -> None:
    train = manifest.select(split="train")
    mode, sample = (
        RegionDataset(manifest, train, finetune_recipe(model="m", cache=False, posterior=p), 1000)
        for p in ("mode", "sample")
    )
    for number in range(6):
        one, other = mode[number, number], sample[number, number]
        noise = other.pop("posterior_noise")
        assert noise.shape == one["noise"].shape
        assert not torch.equal(noise, one["noise"])
        assert one.keys() == other.keys()
        for name, value in one.items():
            same = torch.equal(value, other[name]) if name in TENSORS else value == other[name]
            assert same, name


def test_an_autoencoder_without_a_posterior_cannot_be_drawn_from(
    built: StableDiffusionPipeline, kl: AutoencoderKL
) -> None:
    recipe = finetune_recipe(model="some/model", posterior="sample")
    check_posterior(recipe, kl)
    check_posterior(finetune_recipe(model="some/model"), built.vae)
    with pytest.raises(DidgenError, match="autoencoder of some/model, AutoencoderTiny, has no"):
        check_posterior(recipe, built.vae)


@pytest.fixture(scope="module")
def with_posterior(
    built: StableDiffusionPipeline, kl: AutoencoderKL, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny model with an autoencoder that has a posterior, as a folder."""
    folder = tmp_path_factory.mktemp("models") / "kl"
    parts = built.components | {"vae": kl}
    pipeline = LesionPairPipeline(**parts, requires_safety_checker=False)
    save_pipeline(pipeline, folder, [("MEL", "a brown lesion.")])
    return folder


def recipe_of(source: Path, model: Path, cache: bool) -> FinetuneRecipe:
    """A recipe of three steps that draws its latents."""
    return finetune_recipe(
        source=source,
        model=str(model),
        posterior="sample",
        cache=cache,
        steps=3,
        batch_size=2,
        warmup_steps=0,
        learning_rate=1e-3,
        sampling={"steps": 2},
    )


def test_a_cached_posterior_is_drawn_like_one_that_is_encoded(
    manifest: SourceManifest,
    source: Path,
    with_posterior: Path,
    built: StableDiffusionPipeline,
    kl: AutoencoderKL,
    tmp_path: Path,
) -> None:
    parts = built.components | {"vae": kl}
    pipeline = LesionPairPipeline(**parts, requires_safety_checker=False)
    seen: dict[bool, Tensor] = {}
    for cache in (True, False):
        recipe = recipe_of(source, with_posterior, cache)
        dataset = RegionDataset(manifest, manifest.select(split="train"), recipe, 1000)
        if cache:
            accelerator = Accelerator(cpu=True)
            dtype = torch.float32
            dataset.cache = fill_cache(accelerator, pipeline, dataset, dtype, recipe, tmp_path)
        batch = default_collate([dataset[n, n] for n in range(4)])
        assert ("deviation" in batch) == ("latents" in batch) == cache
        if cache:
            assert batch["latents"].dtype == batch["deviation"].dtype == torch.float16
        seen[cache] = RegionLoss(pipeline, recipe)._latents(batch)
    assert (seen[True] - seen[False]).square().mean().sqrt() < 5e-4 * seen[False].std()
    mode = encode_exactly(kl, dataset.views(0)[:1])["latents"]
    assert all((latents - mode[0]).abs().max() > 0.1 for latents in seen[False])


def test_a_training_that_draws_its_latents_ends_in_the_same_bytes_again(
    source: Path, with_posterior: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(source, with_posterior, cache=True)
    one, other = (finetune(recipe, tmp_path / name) for name in ("one", "other"))
    name = Path("unet") / "diffusion_pytorch_model.safetensors"
    assert (one / name).read_bytes() == (other / name).read_bytes()
    mode = finetune(recipe.model_copy(update={"posterior": "mode"}), tmp_path / "mode")
    assert (mode / name).read_bytes() != (one / name).read_bytes()
