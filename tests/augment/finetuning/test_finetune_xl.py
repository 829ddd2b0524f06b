"""Tests of SDXL through the commands' own doors: trained, stopped and gone on, drawn from."""

from pathlib import Path

import pytest

from didgen.augment.finetuning.finetune import finetune
from didgen.augment.finetuning.rehearsal import rehearse
from didgen.augment.generation.prepare import prepare_generation
from didgen.augment.generation.run import augment
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.runs.verify import verify
from tests.fixtures.finetuned import quick
from tests.fixtures.recipes import QUICK, tiny_recipe
from tests.fixtures.runs import tars
from tests.fixtures.tiny_xl import XL_MAPS


def recipe_of(source: Path, model: Path, steps: int) -> FinetuneRecipe:
    sampling = QUICK | {"maps": XL_MAPS}
    changes = {"model": str(model), "steps": steps, "maps": XL_MAPS, "sampling": sampling}
    return quick(source, checkpoint_every=2, leak_weight=0.1, **changes)


@pytest.mark.slow
def test_a_stopped_training_and_run_end_to_the_bit(
    xl_model: Path, source: Path, tmp_path: Path
) -> None:
    whole = finetune(recipe_of(source, xl_model, 4), tmp_path / "whole")
    finetune(recipe_of(source, xl_model, 2), tmp_path / "stopped")
    again = finetune(recipe_of(source, xl_model, 4), tmp_path / "stopped")
    for part in ("unet/diffusion_pytorch_model", "text_encoder_2/model", "text_encoder/model"):
        name = f"{part}.safetensors"
        assert (again / name).read_bytes() == (whole / name).read_bytes()
    start = (xl_model / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert (whole / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() != start
    out = tmp_path / "run"
    job = prepare_generation(tiny_recipe(whole, sampling=QUICK | {"maps": XL_MAPS}))
    augment(job, out)
    assert {verdict.status for verdict in verify(out)} == {"ok"}
    pairs = out / "pairs" / "pairs-000001.tar"
    before = pairs.read_bytes()
    pairs.unlink()
    augment(job, out)
    assert pairs.read_bytes() == before and len(tars(out)) == 4


def test_a_dry_run_says_what_maps_there_are(xl_model: Path, source: Path) -> None:
    *_, told = rehearse(recipe_of(source, xl_model, 4), None)
    assert told.startswith("4 steps of 2 images. Estimated from")
    with pytest.raises(DidgenError, match=r"no 32x32 self-attention layer .*, only 16x16"):
        list(rehearse(quick(source, model=str(xl_model)), None))


def test_texts_that_are_not_cached_are_refused(
    xl_model: Path, source: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(source, xl_model, 1).model_copy(update={"cache": False})
    with pytest.raises(DidgenError, match="two text encoders, whose texts are cached; set"):
        finetune(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
