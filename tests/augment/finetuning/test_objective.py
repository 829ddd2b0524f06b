"""Tests of the objective: Eq. 4 recomputed by hand, min-SNR, and what costs nothing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
)
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor
from torch.utils.data import default_collate

from didgen.augment.conditioning.p_tokens import tokenize
from didgen.augment.diffusion.attention import layers_at
from didgen.augment.diffusion.autoencoder import decode, encode
from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.augment.diffusion.small_model import build_pipeline
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.objective import (
    RegionLoss,
    attention_weights,
    min_snr_weights,
    predicted_latents,
    target,
)
from didgen.augment.prompts.prompt import LESION, PREFIX, SKIN
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.sampling import AttentionMaps
from didgen.manifests.recipes.small_model import Build, Perceptual
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.recipes import finetune_recipe


def recipe_of(**changes: Any) -> FinetuneRecipe:
    """A recipe without a cache, so that the objective reads pixels and prompts."""
    return finetune_recipe(**{"cache": False} | changes)


def cross_maps(
    pipeline: StableDiffusionPipeline, noisy: Tensor, at: Tensor, context: Tensor
) -> tuple[Tensor, Tensor]:
    """The UNet's output and the mean softmax (256, 77) of its 16x16 layers, for one sample."""
    seen: dict[str, dict[str, Any]] = {}
    handles = []
    for name in layers_at(pipeline.unet, "attn2", AttentionMaps(), 32):
        layer = pipeline.unet.get_submodule(name.removesuffix(".processor"))
        seen[name] = {"heads": layer.heads}
        for part in ("to_q", "to_k"):

            def keep(
                module: torch.nn.Module,
                args: tuple[Tensor],
                output: Tensor,
                name: str = name,
                part: str = part,
            ) -> None:
                seen[name][part] = output[0]

            handles.append(getattr(layer, part).register_forward_hook(keep))
    output = pipeline.unet(noisy, at, context).sample
    for handle in handles:
        handle.remove()
    maps = []
    for layer in seen.values():
        queries, keys = (layer[part].chunk(layer["heads"], -1) for part in ("to_q", "to_k"))
        heads = [
            (q @ k.T / q.shape[-1] ** 0.5).softmax(-1) for q, k in zip(queries, keys, strict=True)
        ]
        maps.append(torch.stack(heads).mean(0))
    return output, torch.stack(maps).mean(0)


def equation_4(
    pipeline: StableDiffusionPipeline, batch: dict[str, Any], recipe: FinetuneRecipe
) -> tuple[Tensor, Tensor]:
    """L_rec and L_attn by hand: one sample at a time, explicit softmax, means over samples."""
    config = pipeline.scheduler.config
    alphas = pipeline.scheduler.alphas_cumprod
    squares, regions = [], []
    for sample in range(len(batch["prompt"])):
        latents = encode(pipeline.vae, batch["pixels"][sample : sample + 1])
        noise, at = batch["noise"][sample : sample + 1], batch["timestep"][sample]
        signal, spread = alphas[at] ** 0.5, (1 - alphas[at]) ** 0.5
        ids = pipeline.tokenizer(
            batch["prompt"][sample],
            padding="max_length",
            max_length=77,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        output, softmax = cross_maps(
            pipeline, signal * latents + spread * noise, at, pipeline.text_encoder(ids)[0]
        )
        target = {
            "epsilon": noise,
            "sample": latents,
            "v_prediction": signal * noise - spread * latents,
        }[config.prediction_type]
        squares.append((output - target).square().mean())
        if not batch["prompted"][sample]:
            regions.append(torch.zeros(()))
            continue
        lesion = batch["mask"][sample, 0].reshape(16, 2, 16, 2).mean((1, 3)).flatten()
        total = torch.zeros(())
        for token, mask in {LESION: lesion, SKIN: 1 - lesion}.items():
            place = ids[0].tolist().index(pipeline.tokenizer.convert_tokens_to_ids(token))
            level = softmax[:, place]
            if recipe.maps.normalised:
                level = (level - level.min()) / (level.max() - level.min())
            total = total + (level - mask).square().mean() / 2
        regions.append(total)
    return torch.stack(squares).mean(), torch.stack(regions).mean()


@pytest.fixture(scope="module")
def batch(manifest: SourceManifest) -> dict[str, Any]:
    """Three samples, the second without its prompt."""
    records = manifest.select(split="train")
    drawn = {"orientations": "dihedral", "caption_probability": 1.0, "prompt_dropout": 0.0}
    recipe = recipe_of(model="none", seed=0, **drawn)
    dataset = RegionDataset(manifest, records, recipe, 1000)
    items = [dataset[number, number] for number in range(3)]
    items[1] |= {"prompted": False, "prompt": ""}
    return default_collate(items)


@pytest.mark.parametrize(
    ("prediction", "scheduler", "normalised"),
    [
        ("v_prediction", DDIMScheduler, True),
        ("epsilon", PNDMScheduler, False),
        ("sample", DDIMScheduler, True),
        ("v_prediction", DPMSolverMultistepScheduler, True),
    ],
)
def test_the_loss_is_equation_4(
    shape: Build,
    batch: dict[str, Any],
    prediction: str,
    scheduler: type[SchedulerMixin],
    normalised: bool,
) -> None:
    build = shape.model_copy(update={"prediction_type": prediction})
    recipe = recipe_of(build=build, maps={"normalised": normalised}, attention_weight=0.3)
    pipeline = build_pipeline(build, [PREFIX], 256, 1)
    changes = {} if scheduler is DDIMScheduler else {"rescale_betas_zero_snr": False}
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **changes)
    module = RegionLoss(pipeline, recipe)
    with torch.no_grad():
        scalars = module(batch)
        with module.resting():
            reconstruction, attention = equation_4(pipeline, batch, recipe)
    torch.testing.assert_close(scalars["reconstruction"], reconstruction, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scalars["attention"], attention, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(scalars["loss"], reconstruction + 0.3 * attention)


@pytest.mark.parametrize("timesteps", ["constant", "signal", "min-snr"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_attention_counts_as_the_recipe_reduces_and_weighs_it(
    shape: Build, batch: dict[str, Any], reduction: str, timesteps: str
) -> None:
    """Sample by sample: the mean without weights, times pixels of the map, times the weight."""
    pipeline = build_pipeline(shape, [PREFIX], 256, 0)
    asked = {"attention_reduction": reduction, "attention_timesteps": timesteps}
    recipe = recipe_of(build=shape, min_snr_gamma=5.0, **asked)
    plain = RegionLoss(pipeline, recipe_of(build=shape))
    alphas = pipeline.scheduler.alphas_cumprod.double()
    with torch.no_grad():
        single = [
            plain({name: value[n : n + 1] for name, value in batch.items()})["attention"]
            for n in range(3)
        ]
        found = RegionLoss(pipeline, recipe)(batch)
    expected = 0.0
    for loss, at in zip(single, batch["timestep"].tolist(), strict=True):
        share = alphas[at].item()
        snr = share / max(1 - share, 1e-12)
        weight = {
            "constant": 1.0,
            "signal": share / (sum(alphas.tolist()) / len(alphas)),
            "min-snr": min(snr, 5.0) / (snr + 1),
        }[timesteps]
        expected += loss.item() * weight * (256 if reduction == "sum" else 1) / 3
    assert found["attention"].item() == pytest.approx(expected, rel=1e-4)
    loss = found["reconstruction"] + 0.1 * found["attention"]
    torch.testing.assert_close(found["loss"], loss)


@pytest.mark.parametrize("zero_snr", [True, False])
def test_weights_by_the_signal_are_1_on_average_and_fall(zero_snr: bool) -> None:
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=zero_snr,
    )
    weights = attention_weights(
        scheduler, torch.arange(1000), recipe_of(model="m", attention_timesteps="signal")
    )
    assert weights.mean().item() == pytest.approx(1, rel=1e-5)
    assert (weights.diff() < 0).all()
    assert (weights >= 0).all()
    constant = attention_weights(scheduler, torch.arange(1000), recipe_of(model="m"))
    assert torch.equal(constant, torch.ones(1000))


def test_the_leak_is_added_by_its_weight_and_lies_in_the_open_interval(
    shape: Build, batch: dict[str, Any]
) -> None:
    """Near-uniform self-attention of random weights leaks about what lies outside each region."""
    modules = [
        RegionLoss(
            build_pipeline(shape, [PREFIX], 256, 0),
            recipe_of(build=shape, leak_weight=weight),
        )
        for weight in (0.0, 0.2)
    ]
    without, with_leak = (module(batch) for module in modules)
    assert "leak" not in without
    torch.testing.assert_close(with_leak["loss"], without["loss"] + 0.2 * with_leak["leak"])
    # Of uniform attention, the share s of the lesion leaks 1 - s and the skin leaks s.
    assert with_leak["leak"].item() == pytest.approx(0.5, abs=0.02)
    with_leak["loss"].backward()


@pytest.mark.parametrize("cache", [False, True])
def test_the_perceptual_term_compares_decoded_images_one_by_one(
    shape: Build, batch: dict[str, Any], perceptual: Perceptual, cache: bool
) -> None:
    recipe = recipe_of(build=shape, cache=cache)
    distance = PerceptualDistance(perceptual.model_copy(update={"weight": 0.3}))
    plain, module = (
        RegionLoss(build_pipeline(shape, [PREFIX], 256, 0), recipe, added)
        for added in (None, distance)
    )
    pipeline = build_pipeline(shape, [PREFIX], 256, 0)
    seen = encode(pipeline.vae, batch["pixels"])
    given = batch | {"step": 0} | ({"latents": seen} if cache else {})
    alphas = pipeline.scheduler.alphas_cumprod
    expected = torch.zeros(())
    with torch.no_grad():
        for n in range(3):
            latents, noise, at = seen[n : n + 1], batch["noise"][n : n + 1], batch["timestep"][n]
            ids = tokenize(pipeline.tokenizer, batch["prompt"][n : n + 1])
            noisy = alphas[at] ** 0.5 * latents + (1 - alphas[at]) ** 0.5 * noise
            velocity = pipeline.unet(noisy, at, pipeline.text_encoder(ids)[0]).sample
            clean = alphas[at] ** 0.5 * noisy - (1 - alphas[at]) ** 0.5 * velocity
            images = (decode(pipeline.vae, some) for some in (clean, latents))
            expected = expected + alphas[at] * distance(*images)[0] / 3
    without, scalars = plain(given), module(given)
    assert "perceptual" not in without
    torch.testing.assert_close(scalars["perceptual"], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scalars["loss"], without["loss"] + 0.3 * expected)
    (scalars["loss"] - without["loss"]).backward()
    assert module.vae is not None
    fixed = [*module.vae.parameters(), *distance.parameters()]
    assert all(parameter.grad is None for parameter in fixed)
    assert any(p.grad is not None and p.grad.any() for p in module.unet.parameters())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_what_a_model_should_predict_means_the_latents(prediction: str) -> None:
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        rescale_betas_zero_snr=prediction == "v_prediction",
    )
    latents, noise = torch.randn((2, 5, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([0, 10, 500, 900, 999])
    noisy = scheduler.add_noise(latents, noise, timesteps)
    output = target(scheduler, latents, noise, timesteps)
    found = predicted_latents(scheduler, output, noisy, timesteps)
    torch.testing.assert_close(found, latents, rtol=1e-4, atol=1e-4)


def test_without_any_prompt_only_reconstruction_counts(shape: Build, batch: dict[str, Any]) -> None:
    module = RegionLoss(build_pipeline(shape, [PREFIX], 256, 0), recipe_of(build=shape))
    scalars = module(batch | {"prompted": torch.zeros(3, dtype=torch.bool), "prompt": [""] * 3})
    assert scalars["attention"] == 0
    assert scalars["loss"] == scalars["reconstruction"] > 0
    scalars["loss"].backward()


def test_the_attention_term_reaches_unet_and_text_but_no_p_token(
    shape: Build, batch: dict[str, Any]
) -> None:
    pipeline = build_pipeline(shape, [PREFIX], 256, 0)
    module = RegionLoss(pipeline, recipe_of(build=shape, attention_weight=1.0))
    scalars = module(batch)
    scalars["loss"].backward()
    table = pipeline.text_encoder.get_input_embeddings().weight.grad
    assert table is not None
    fixed = pipeline.tokenizer.convert_tokens_to_ids([LESION, SKIN])
    assert table[fixed].abs().max() == 0
    assert table.abs().max() > 0
    assert all(parameter.grad is None for parameter in pipeline.vae.parameters())
    assert not any(parameter.requires_grad for parameter in pipeline.vae.parameters())


def gradients(module: RegionLoss, batch: dict[str, Any]) -> dict[str, Tensor]:
    """One step's gradients by parameter, the loss among them."""
    module.train()
    scalars = module(batch)
    scalars["loss"].backward()
    found = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    return {**found, **scalars}


@pytest.mark.parametrize("sharpness", [0.0, 100.0])
def test_checkpointed_gradients_are_those_of_a_plain_pass(
    shape: Build, batch: dict[str, Any], sharpness: float
) -> None:
    """With both attention losses active: what the second run of a layer writes must not count."""
    plain, checkpointed = (
        RegionLoss(
            build_pipeline(shape, [PREFIX], 256, 0),
            recipe_of(
                build=shape,
                leak_weight=0.5,
                attention_weight=0.5,
                gradient_checkpointing=asked,
                maps={"sharpness": sharpness},
            ),
        )
        for asked in (False, True)
    )
    runs: list[str] = []
    layers = layers_at(checkpointed.unet, "attn2", AttentionMaps(), 32)
    for name in layers:
        layer = checkpointed.unet.get_submodule(name.removesuffix(".processor"))
        layer.register_forward_pre_hook(lambda *args, name=name: runs.append(name))
    expected = gradients(plain, batch)
    found = gradients(checkpointed, batch)
    assert sorted(runs) == sorted(2 * layers), "the backward pass did not run them again"
    assert found.keys() == expected.keys()
    assert all(value.isfinite().all() for value in found.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    # A second step is not disturbed by what the first backward pass left behind.
    checkpointed.zero_grad()
    torch.testing.assert_close(gradients(checkpointed, batch)["loss"], expected["loss"])


@pytest.mark.slow
# torch's own tracer looks at the `.grad` of tensors that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_it_has_the_same_gradients(
    shape: Build, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, and then run by torch itself: what a processor keeps must leave the graph."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, compiled = (
        RegionLoss(
            build_pipeline(shape, [PREFIX], 256, 0),
            recipe_of(build=shape, leak_weight=0.5, attention_weight=0.5, compile=asked),
        )
        for asked in (False, True)
    )
    expected = gradients(plain, batch)
    for _ in range(2):
        compiled.zero_grad()
        found = gradients(compiled, batch)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_the_perceptual_term_joins_at_its_step(
    shape: Build, batch: dict[str, Any], perceptual: Perceptual
) -> None:
    recipe = recipe_of(build=shape, perceptual=perceptual, perceptual_from=5)
    module = RegionLoss(
        build_pipeline(shape, [PREFIX], 256, 0), recipe, PerceptualDistance(perceptual)
    )
    with torch.no_grad():
        before, after = (module(batch | {"step": step}) for step in (4, 5))
    assert "perceptual" not in before
    expected = before["loss"] + perceptual.weight * after["perceptual"]
    torch.testing.assert_close(after["loss"], expected)
    assert after["perceptual"] > 0


def test_half_a_size_is_read_at_half_the_sides(shape: Build, batch: dict[str, Any]) -> None:
    pipeline = build_pipeline(shape, [PREFIX], 256, 0)
    small = batch | {
        "pixels": F.avg_pool2d(batch["pixels"], 2),
        "mask": F.avg_pool2d(batch["mask"], 2),
        "noise": batch["noise"][..., ::2, ::2],
    }
    maps = {"cross_side": 8, "self_side": 16}
    with torch.no_grad():
        halved = RegionLoss(pipeline, recipe_of(build=shape, leak_weight=0.2))(small)
        asked = recipe_of(build=shape, leak_weight=0.2, image_size=128, maps=maps)
        expected = RegionLoss(pipeline, asked)(small)
    assert expected["attention"] > 0
    assert halved.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(halved[name], value, msg=name)


def test_the_loss_of_a_batch_is_the_mean_of_its_samples(
    shape: Build, batch: dict[str, Any], perceptual: Perceptual
) -> None:
    recipe = recipe_of(build=shape, leak_weight=0.2, min_snr_gamma=5.0)
    pipeline = build_pipeline(shape, [PREFIX], 256, 0)
    module = RegionLoss(pipeline, recipe, PerceptualDistance(perceptual))
    with torch.no_grad():
        whole = module(batch | {"step": 0})
        single = [
            module({name: value[n : n + 1] for name, value in batch.items()} | {"step": 0})
            for n in range(3)
        ]
    assert single[1]["attention"] == 0
    for name, value in whole.items():
        mean = torch.stack([scalars[name] for scalars in single]).mean()
        torch.testing.assert_close(value, mean, rtol=1e-5, atol=1e-6, msg=name)


def test_a_loss_of_weight_zero_captures_nothing(shape: Build, batch: dict[str, Any]) -> None:
    recipe = recipe_of(build=shape, attention_weight=0.0)
    module = RegionLoss(build_pipeline(shape, [PREFIX], 256, 0), recipe)
    assert {type(p) for p in module.unet.attn_processors.values()} == {AttnProcessor2_0}
    scalars = module(batch)
    assert scalars.keys() == {"loss", "reconstruction"}
    assert scalars["loss"] == scalars["reconstruction"]
    only_leak = recipe_of(build=shape, attention_weight=0.0, leak_weight=0.1)
    module = RegionLoss(build_pipeline(shape, [PREFIX], 256, 0), only_leak)
    kinds = {n: type(p).__name__ for n, p in module.unet.attn_processors.items()}
    assert {kinds[n] for n in kinds if "attn2" in n} == {"AttnProcessor2_0"}
    assert "SelfProcessor" in kinds.values()
    assert module(batch).keys() == {"loss", "reconstruction", "leak"}


def test_a_resting_model_is_plain_and_goes_on_as_before(
    shape: Build, batch: dict[str, Any]
) -> None:
    recipe = recipe_of(build=shape, gradient_checkpointing=True)
    module = RegionLoss(build_pipeline(shape, [PREFIX], 256, 0), recipe).train()
    processors = module.unet.attn_processors
    with module.resting():
        assert {type(p) for p in module.unet.attn_processors.values()} == {AttnProcessor2_0}
        assert not module.unet.training
        assert not module.unet.is_gradient_checkpointing
    assert module.unet.attn_processors == processors
    assert module.unet.training
    assert module.unet.is_gradient_checkpointing


FORMULAS: dict[str, Callable[[float, float], float]] = {
    "epsilon": lambda snr, gamma: min(snr, gamma) / snr if snr else 1.0,
    "v_prediction": lambda snr, gamma: min(snr, gamma) / (snr + 1),
    "sample": min,
}
"""Hang et al.: the weights by prediction type; at zero SNR that of noise is its limit."""


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("prediction", FORMULAS)
def test_min_snr_weights_are_those_of_the_paper(prediction: str, zero: bool) -> None:
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        rescale_betas_zero_snr=zero,
    )
    timesteps = torch.tensor([0, 1, 37, 400, 800, 998, 999])
    found = min_snr_weights(scheduler, timesteps, 5.0)
    expected = []
    for timestep in timesteps.tolist():
        signal = scheduler.alphas_cumprod.double()[timestep].item()
        expected.append(FORMULAS[prediction](signal / (1 - signal), 5.0))
    torch.testing.assert_close(found.double(), torch.tensor(expected).double(), rtol=1e-3, atol=0)
    assert found.isfinite().all()


def test_min_snr_weighs_every_sample_of_the_reconstruction(
    shape: Build, batch: dict[str, Any]
) -> None:
    plain, weighed = (
        RegionLoss(
            build_pipeline(shape, [PREFIX], 256, 0), recipe_of(build=shape, min_snr_gamma=gamma)
        )
        for gamma in (None, 5.0)
    )
    total = torch.zeros(())
    with torch.no_grad():
        for n in range(3):
            sample = {name: value[n : n + 1] for name, value in batch.items()}
            weight = min_snr_weights(plain.scheduler, sample["timestep"], 5.0)[0]
            total = total + weight * plain(sample)["reconstruction"] / 3
        found = weighed(batch)
        torch.testing.assert_close(found["reconstruction"], total)
        torch.testing.assert_close(found["attention"], plain(batch)["attention"])
