"""Tests of finetuning: Eq. 4 recomputed, and whole tiny runs from a source to a model on disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import (
    StableDiffusionPipeline,
)
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from augment.build import build_pipeline
from augment.dataset import load_pixels
from augment.finetune import finetune
from augment.model import encode, load_pipeline
from augment.prompt import LESION, SKIN, compose
from manifests.errors import DidgenError
from manifests.files import read_json_lines
from manifests.recipe import Build, FinetuneRecipe
from manifests.records import SourceManifest


def recipe_of(source: Path, **changes: Any) -> FinetuneRecipe:
    """A recipe of seconds."""
    fields = {
        "source": source,
        "image_size": 256,
        "steps": 4,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 1,
        "prompt_dropout": 0.2,
        "ema_decay": 0.5,
        "mixed_precision": "no",
        "checkpoint_every": 100,
    }
    return FinetuneRecipe.model_validate(fields | changes)


@pytest.fixture(scope="module")
def recipe(source: Path, shape: Build) -> FinetuneRecipe:
    """The recipe of the tiny run."""
    return recipe_of(source, build=shape)


@pytest.fixture(scope="module")
def run(recipe: FinetuneRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run."""
    AcceleratorState._reset_state(reset_partial_state=True)
    out = tmp_path_factory.mktemp("finetune") / "run"
    assert finetune(recipe, out) == out / "model"
    return out


def embeddings(pipeline: StableDiffusionPipeline) -> Tensor:
    """The token embeddings of a model."""
    return pipeline.text_encoder.get_input_embeddings().weight.detach()


def initial(recipe: FinetuneRecipe, manifest: SourceManifest) -> StableDiffusionPipeline:
    """The model of a recipe before training."""
    assert recipe.build is not None
    texts = [compose(record.caption) for record in manifest.select(split="train")]
    return build_pipeline(recipe.build, texts, recipe.image_size, recipe.seed)


def test_a_run_ends_in_a_model_that_stable_diffusion_loads(
    run: Path, manifest: SourceManifest
) -> None:
    plain = StableDiffusionPipeline.from_pretrained(run / "model", safety_checker=None)
    assert plain.unet.config.sample_size == 32
    rows = read_json_lines(run / "model" / "captions.jsonl")
    assert rows == [
        {"label": r.label, "caption": r.caption} for r in manifest.select(split="train")
    ]
    with Image.open(run / "sheets" / "step-0000004.png") as sheet:
        assert sheet.width > 4 * 256
    assert not list(run.rglob("*.tmp"))
    assert list(run.glob("logs/**/events*"))


def test_p_tokens_stay_fixed_while_other_words_learn(
    run: Path, recipe: FinetuneRecipe, manifest: SourceManifest
) -> None:
    before, after = initial(recipe, manifest), load_pipeline(str(run / "model"))
    tokenizer = after.tokenizer
    assert tokenizer.get_vocab() == before.tokenizer.get_vocab()
    fixed = tokenizer.convert_tokens_to_ids([LESION, SKIN])
    assert torch.equal(embeddings(before)[fixed], embeddings(after)[fixed])
    words = tokenizer("an image of on", add_special_tokens=False).input_ids
    moved = (embeddings(before)[words] - embeddings(after)[words]).abs().amax(1)
    assert (moved > 1e-5).all()
    changed = [
        name
        for name, value in before.unet.state_dict().items()
        if not torch.equal(value, after.unet.state_dict()[name])
    ]
    assert len(changed) > 0.9 * len(before.unet.state_dict())


def test_the_autoencoder_is_the_first_stage_and_gives_unit_latents(
    run: Path, manifest: SourceManifest
) -> None:
    vae = load_pipeline(str(run / "model")).vae
    kept = load_file(run / "autoencoder.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in vae.state_dict().items())
    records = manifest.select(split="train")
    images = torch.stack([load_pixels(manifest, record, 256) for record in records])
    with torch.no_grad():
        assert encode(vae, images).std() == pytest.approx(1, abs=1e-3)


def test_run_again_there_is_nothing_left_to_do(run: Path, recipe: FinetuneRecipe) -> None:
    weights = {p: p.read_bytes() for p in (run / "model").rglob("*.safetensors")}
    kept = [*run.glob("checkpoints/*/*/*"), *run.glob("sheets/*"), run / "autoencoder.safetensors"]
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert len(times) >= 7
    finetune(recipe, run)
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert {p: p.read_bytes() for p in (run / "model").rglob("*.safetensors")} == weights


def test_another_recipe_in_the_same_folder_is_refused(run: Path, recipe: FinetuneRecipe) -> None:
    other = recipe.model_copy(update={"learning_rate": 2e-3})
    with pytest.raises(DidgenError, match=r"differs in learning_rate \(0.001, now 0.002\)"):
        finetune(other, run)


def test_a_loaded_model_trains_its_unet_alone(
    run: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    train = SourceManifest(manifest.header, tuple(manifest.select(split="train")))
    train.write(tmp_path / "source")
    recipe = recipe_of(tmp_path / "source", model=str(run / "model"), steps=2, ema_decay=None)
    before = load_pipeline(str(run / "model"))
    after = load_pipeline(str(finetune(recipe, tmp_path / "run")))
    for part in ("vae", "text_encoder"):
        old, new = (getattr(model, part).state_dict() for model in (before, after))
        assert all(torch.equal(old[name], new[name]) for name in old), part
    assert before.vae.config.scaling_factor == after.vae.config.scaling_factor
    old, new = before.unet.state_dict(), after.unet.state_dict()
    assert sum(not torch.equal(old[name], new[name]) for name in old) > 0.9 * len(old)
    assert not (tmp_path / "run" / "autoencoder.safetensors").exists()
    # Without a validation image there is nothing to draw a sheet of.
    assert not (tmp_path / "run" / "sheets").exists()


def changed_source(manifest: SourceManifest, folder: Path, **changes: None) -> Path:
    """A copy of the tiny source's manifest with fields of all records changed."""
    records = tuple(record.model_copy(update=changes) for record in manifest.records)
    SourceManifest(manifest.header, records).write(folder)
    return folder


def test_sources_without_masks_or_captions_are_refused(
    manifest: SourceManifest, shape: Build, tmp_path: Path
) -> None:
    for field, sentence in {
        "mask": "no training image with a mask; import masks too",
        "caption": "has no captions; run `didgen caption` on it first",
    }.items():
        source = changed_source(manifest, tmp_path / field, **{field: None})
        with pytest.raises(DidgenError, match=sentence):
            finetune(recipe_of(source, build=shape), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_size_without_the_maps_is_refused_before_training(
    run: Path, source: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(source, model=str(run / "model"), image_size=128)
    with pytest.raises(DidgenError, match="no 32x32 self-attention layer at 16x16 latents"):
        finetune(recipe, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
