"""Tests of the autoencoder's stage: it comes first, and its result is kept."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from didgen.augment.diffusion.autoencoder import encode
from didgen.augment.diffusion.images import load_pixels
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.finetuning.finetune import finetune
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.small_model import Build
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.finetuned import quick


def test_the_autoencoder_is_the_first_stage_and_gives_unit_latents(
    finetuned: Path, manifest: SourceManifest
) -> None:
    vae = load_pipeline(str(finetuned / "model")).vae
    kept = load_file(finetuned / "autoencoder.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in vae.state_dict().items())
    records = manifest.select(split="train")
    images = torch.stack([load_pixels(manifest, record, 256) for record in records])
    with torch.no_grad():
        assert encode(vae, images).std() == pytest.approx(1, abs=1e-3)


def test_an_autoencoder_that_was_cut_off_is_named(
    finetuned: Path, quick_recipe: FinetuneRecipe, tmp_path: Path
) -> None:
    out = shutil.copytree(finetuned, tmp_path / "run")
    path = out / "autoencoder.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DidgenError, match=r"autoencoder\.safetensors is damaged"):
        finetune(quick_recipe, out)


def test_without_a_step_the_autoencoder_stays_as_it_is(
    finetuned: Path, source: Path, shape: Build, tmp_path: Path
) -> None:
    model = str(finetuned / "model")
    stage = shape.autoencoder.model_copy(update={"steps": 0})
    build = shape.model_copy(update={"autoencoder": stage})
    recipe = quick(source, model=model, build=build, steps=1, caption_thinning=0.5)
    before = load_pipeline(model)
    after = load_pipeline(str(finetune(recipe, tmp_path / "run")))
    for part in ("vae", "text_encoder", "unet"):
        old, new = (getattr(one, part).state_dict() for one in (before, after))
        stayed = all(torch.equal(old[name], new[name]) for name in old)
        assert stayed == (part == "vae"), part
    assert after.vae.config.scaling_factor == before.vae.config.scaling_factor
