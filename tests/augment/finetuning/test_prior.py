"""Tests of the prior: who draws it, what a sample has of it, and its place in the loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.utils.data import default_collate

from didgen.augment.conditioning.p_tokens import tokenize
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.finetune import finetune
from didgen.augment.finetuning.latent_cache import Table
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.prior import PriorImages, draw_prior
from didgen.augment.finetuning.training_images import read_training_images
from didgen.manifests.recipes.finetune import FinetuneRecipe, Prior
from tests.fixtures.recipes import finetune_recipe


def dreambooth(source: Path, model: Path, **changes: Any) -> FinetuneRecipe:
    """A DreamBooth of seconds."""
    fields: dict[str, Any] = {
        "source": source,
        "model": str(model),
        "prompt": "prefix",
        "prior": {"images": 3, "steps": 2},
        "attention_weight": 0,
        "steps": 2,
        "batch_size": 2,
        "checkpoint_every": 100,
        "sampling": {"steps": 2, "annotation": {"flat": 0}},
    }
    return finetune_recipe(**fields | changes)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Latents that can be told apart."""
    table = Table(tmp_path, "prior-fp16", 5)
    for _ in table.fill(lambda row: {"latents": torch.full((4, 32, 32), float(row))}):
        pass
    return table


def test_a_sample_has_an_image_a_timestep_and_noise_by_its_number_alone(table: Table) -> None:
    items = [PriorImages(table).item(7, number, 1000) for number in range(40)]
    again = PriorImages(table).item(7, 11, 1000)
    assert all(np.array_equal(items[11][name], again[name]) for name in again)
    assert {float(item["prior_latents"][0, 0, 0]) for item in items} == {0, 1, 2, 3, 4}
    assert len({item["prior_timestep"] for item in items}) > 30
    noise = torch.stack([item["prior_noise"] for item in items])
    assert abs(float(noise.std()) - 1) < 0.02 and abs(float(noise.mean())) < 0.02


def test_what_else_a_sample_draws_stays_as_it_is(table: Table, source: Path, model: Path) -> None:
    recipe = dreambooth(source, model)
    manifest, records = read_training_images(recipe)
    dataset = RegionDataset(manifest, records, recipe, 1000)
    before = dataset[3, 1]
    dataset.prior = PriorImages(table)
    after = dataset[3, 1]
    assert after.keys() - before.keys() == {"prior_latents", "prior_timestep", "prior_noise"}
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_loss_is_that_of_the_source_and_that_of_the_class_by_its_weight(
    table: Table, source: Path, model: Path
) -> None:
    recipe = dreambooth(source, model, prior={"weight": 0.7}, cache=False)
    manifest, records = read_training_images(recipe)
    dataset = RegionDataset(manifest, records, recipe, 1000)
    dataset.prior = PriorImages(table)
    batch = default_collate([dataset[number, number] for number in (0, 1)]) | {"step": 0}
    pipeline = load_pipeline(str(model))
    with torch.no_grad():
        found = RegionLoss(pipeline, recipe).eval()(batch)
        plain = RegionLoss(pipeline, recipe.model_copy(update={"prior": None})).eval()(batch)
        # By hand, sample by sample.
        ids = tokenize(pipeline.tokenizer, ["An image of a lesion on skin."])
        context = pipeline.text_encoder(ids)[0]
        errors = []
        for place in range(2):
            clean, noise = batch["prior_latents"][place], batch["prior_noise"][place]
            at = batch["prior_timestep"][place]
            share = pipeline.scheduler.alphas_cumprod[at]
            noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
            kind = pipeline.scheduler.config.prediction_type
            aim = share.sqrt() * noise - (1 - share).sqrt() * clean
            aim = aim if kind == "v_prediction" else noise
            errors.append(F.mse_loss(pipeline.unet(noisy[None], at, context).sample[0], aim))
    wanted = torch.stack(errors).mean()
    torch.testing.assert_close(found["prior"], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["loss"], plain["loss"] + 0.7 * wanted, rtol=1e-4, atol=1e-5)


def test_a_killed_dreambooth_draws_its_class_by_the_base_and_goes_on_to_the_same_weights(
    source: Path, model: Path, tmp_path: Path
) -> None:
    recipe = dreambooth(source, model)
    whole = finetune(recipe, tmp_path / "whole")
    AcceleratorState._reset_state(reset_partial_state=True)
    finetune(recipe.model_copy(update={"steps": 1}), tmp_path / "parts")
    kept = Table(tmp_path / "parts" / "cache", "prior-fp16", 3)
    first = kept.path(0).read_bytes()
    AcceleratorState._reset_state(reset_partial_state=True)
    parts = finetune(recipe, tmp_path / "parts")
    assert kept.path(0).read_bytes() == first
    weights = "unet/diffusion_pytorch_model.safetensors"
    one, other = load_file(whole / weights), load_file(parts / weights)
    assert all(one[name].equal(other[name]) for name in one)
    assert not one["conv_in.weight"].equal(load_file(model / weights)["conv_in.weight"])
    assert "a port of DreamBooth" in ModelCard.load(whole / "README.md").text
    # The model that was loaded draws them, from seeds of their own.
    prior = Prior.model_validate({"images": 1, "steps": 2})
    drawn = draw_prior(
        Accelerator(cpu=True), load_pipeline(str(model)), recipe, prior, tmp_path / "again"
    )
    torch.testing.assert_close(drawn.table.read(0, "latents"), kept.read(0, "latents"))


@pytest.mark.parametrize(
    "fields", [{"attention_weight": 0.1}, {"leak_weight": 1}, {"half_size_until": 1}]
)
def test_a_prior_goes_with_eq_1_alone(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="`prior` needs"):
        dreambooth(Path("a"), Path("b"), cache=False, **fields)
