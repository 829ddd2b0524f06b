"""Tests of the cache: rows survive a kill, and cached samples train like those they stand for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import StableDiffusionPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import default_collate

from didgen.augment.diffusion.perceptual import PerceptualDistance
from didgen.augment.diffusion.small_model import build_pipeline
from didgen.augment.finetuning import diffusion_run as training
from didgen.augment.finetuning import latent_cache as cache
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.diffusion_run import fill_cache
from didgen.augment.finetuning.latent_cache import Table
from didgen.augment.finetuning.objective import RegionLoss
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.small_model import Build, Perceptual
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.recipes import finetune_recipe


def row(number: int) -> dict[str, Tensor]:
    """Two tensors that tell their row."""
    return {
        "grid": torch.arange(6).reshape(2, 3) + 10 * number,
        "half": torch.full((2,), number, dtype=torch.bfloat16),
    }


@given(count=st.integers(1, 12), shard=st.integers(1, 5), parts=st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_every_row_is_read_as_it_was_computed(
    tmp_path_factory: pytest.TempPathFactory, count: int, shard: int, parts: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "SHARD", shard)
        table = Table(tmp_path_factory.mktemp("table"), "rows", count)
        done = [sum(table.fill(row, part, parts)) for part in range(parts)]
        assert sum(done) == count
        for number in range(count):
            for name, value in row(number).items():
                found = table.read(number, name)
                assert torch.equal(found, value)
                assert found.dtype == value.dtype
            assert torch.equal(table.read(number, "grid", 1), row(number)["grid"][1])
        assert table.size() == sum(path.stat().st_size for path in table.folder.iterdir())


def test_a_table_that_was_cut_off_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SHARD", 3)
    table = Table(tmp_path, "rows", 8)
    computed: list[int] = []

    def counted(number: int) -> dict[str, Tensor]:
        if len(computed) == 5:
            raise KeyboardInterrupt
        computed.append(number)
        return row(number)

    with pytest.raises(KeyboardInterrupt):
        list(table.fill(counted))
    assert [path.name for path in table.folder.glob("*.safetensors")] == ["rows-00000.safetensors"]
    computed.clear()

    def recorded(number: int) -> dict[str, Tensor]:
        computed.append(number)
        return row(number)

    assert sum(table.fill(recorded)) == 8
    assert computed == [3, 4, 5, 6, 7]
    assert torch.equal(table.read(4, "grid"), row(4)["grid"])


def recipe_of(shape: Build | None, precision: str) -> FinetuneRecipe:
    """A recipe of a built model, or of one that is loaded and whose text encoder is fixed."""
    model = {"model": "tiny"} if shape is None else {"build": shape}
    return finetune_recipe(
        leak_weight=0.1,
        prompt_dropout=0.3,
        orientations="dihedral",
        seed=0,
        mixed_precision=precision,
        **model,
    )


def losses(
    pipeline: StableDiffusionPipeline,
    manifest: SourceManifest,
    recipe: FinetuneRecipe,
    out: Path | None,
) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    """A batch and the losses of some, with a cache in `out` or without."""
    accelerator = Accelerator(mixed_precision=recipe.mixed_precision, cpu=True)
    dtype = {"no": torch.float32, "bf16": torch.bfloat16}[recipe.mixed_precision or "no"]
    dataset = RegionDataset(manifest, manifest.select(split="train"), recipe, 1000)
    module = RegionLoss(pipeline, recipe.model_copy(update={"cache": out is not None}))
    if out is not None:
        dataset.cache = fill_cache(accelerator, pipeline, dataset, dtype, recipe, out)
    batches = [
        default_collate([dataset[n, n % len(dataset)] for n in range(start, start + 3)])
        for start in (0, 3, 6)
    ]
    with torch.no_grad(), accelerator.autocast():
        return batches[0], [module(batch) for batch in batches]


@pytest.mark.parametrize(("precision", "loaded"), [("no", True), ("bf16", True), ("no", False)])
def test_cached_training_sees_the_losses_of_uncached_training(
    shape: Build,
    manifest: SourceManifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    loaded: bool,
) -> None:
    """Equal up to the batch that the autoencoder sees, where latents are kept as they are encoded.

    Text embeddings in bf16 are what autocast hands out anyway. By default latents are kept as the
    nearest fp16, whatever the precision.
    """
    recipe = recipe_of(None if loaded else shape, precision)
    pipeline = build_pipeline(shape, [r.caption or "" for r in manifest.records], 256, seed=0)
    plain, expected = losses(pipeline, manifest, recipe, None)
    rounded, _ = losses(pipeline, manifest, recipe, tmp_path / "default")
    monkeypatch.setattr(training, "KEPT", torch.float32)
    cached, found = losses(pipeline, manifest, recipe, tmp_path)
    assert "pixels" in plain
    assert cached.keys() - plain.keys() == {"latents", *(["context"] if loaded else [])}
    assert "pixels" not in cached
    torch.testing.assert_close(cached["mask"], plain["mask"])
    assert cached["latents"].dtype == torch.float32
    assert rounded["latents"].dtype == torch.float16
    assert torch.equal(rounded["latents"], cached["latents"].half())
    tolerance = {"no": 1e-5, "bf16": 1e-3}[precision]
    for one, other in zip(expected, found, strict=True):
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=tolerance, atol=0, msg=name)
    kept = sorted(path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir())
    assert kept == (["images", "texts"] if loaded else ["images"])


def test_what_the_cache_stands_for_is_no_part_of_the_objective(
    shape: Build, manifest: SourceManifest, perceptual: Perceptual
) -> None:
    pipeline = build_pipeline(shape, ["a"], 256, seed=0)
    loaded = recipe_of(None, "no")
    for recipe, distance, parts in (
        (loaded, None, {"unet"}),
        (recipe_of(shape, "no"), None, {"unet", "text_encoder"}),
        (loaded.model_copy(update={"cache": False}), None, {"unet", "vae", "text_encoder"}),
        (loaded, PerceptualDistance(perceptual), {"unet", "vae", "perceptual"}),
    ):
        names = {name for name, _ in RegionLoss(pipeline, recipe, distance).named_children()}
        assert names == parts
