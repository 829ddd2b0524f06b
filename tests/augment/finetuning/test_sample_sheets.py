"""Tests of the sample sheets: drawn as the recipe samples, of the size that is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from didgen.augment.contact_sheets import pair_sheet
from didgen.augment.diffusion.images import load_mask
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.diffusion.pipeline import LesionPairs, draw
from didgen.augment.finetuning import sample_sheets
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.sample_sheets import SampleSheets
from didgen.augment.prompts.prompt import compose
from didgen.manifests.recipes.sampling import Sampling
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.recipes import finetune_recipe


def sheets_of(model: Path, manifest: SourceManifest, out: Path, **fields: Any) -> SampleSheets:
    """The sheets of a training of the tiny model that has not begun."""
    pipeline = load_pipeline(str(model))
    recipe = finetune_recipe(model=str(model), cache=False, **fields)
    return SampleSheets(pipeline, RegionLoss(pipeline, recipe), recipe, manifest, out)


def three_for_validation(manifest: SourceManifest) -> SourceManifest:
    """The tiny source with its last three images for validation."""
    records = [record.model_copy(update={"split": "val"}) for record in manifest.records[-3:]]
    return SourceManifest(manifest.header, (*manifest.records[:-3], *records))


def test_a_sheet_is_what_the_sampler_draws_by_the_same_settings(
    model: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    three = three_for_validation(manifest)
    sampling = {"steps": 3, "cfg": 2.0, "batch_size": 3, "guidance": {"until": 0.0}}
    sheets_of(model, three, tmp_path, sampling=sampling).draw(40)
    records = three.select(split="val")
    layouts = torch.stack([load_mask(three, record, 256) for record in records])
    prompts = [compose(record.caption) for record in records]
    asked = Sampling.model_validate(sampling)
    drawn = draw(load_pipeline(str(model)), prompts, range(3), asked, layouts)
    labels = [record.label or "" for record in records]
    expected = pair_sheet(drawn.images, drawn.masks, layouts[:, 0].numpy() > 0.5, labels)
    with Image.open(tmp_path / "step-0000040.png") as found:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_settings_are_the_recipe_s_and_else_those_of_the_training(
    model: Path, manifest: SourceManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Sampling, int, int]] = []

    def seen(
        pipeline: Any, prompts: list[str], seeds: range, sampling: Sampling, layouts: Tensor
    ) -> LesionPairs:
        asked.append((sampling, len(prompts), layouts.shape[-1]))
        side = layouts.shape[-1]
        images = np.zeros((len(prompts), side, side, 3), np.uint8)
        return LesionPairs(images=images, masks=np.ones((len(prompts), side, side), bool))

    monkeypatch.setattr(sample_sheets, "draw", seen)
    three = three_for_validation(manifest)
    training = {"maps": {"normalised": False}, "batch_size": 2}
    sheets_of(model, three, tmp_path, **training).draw(1)
    default = Sampling(maps=finetune_recipe(model="m", **training).maps, batch_size=2)
    assert asked == [(default, 2, 256), (default, 1, 256)]
    asked.clear()
    own = {"scheduler": "ddim", "steps": 5, "batch_size": 4, "guidance": {"eta": 7.0}}
    sheets_of(model, three, tmp_path, sampling=own, **training).draw(2)
    expected = Sampling.model_validate(own | {"maps": training["maps"]})
    assert asked == [(expected, 3, 256)]
    asked.clear()
    early = sheets_of(model, three, tmp_path, half_size_until=5, sampling=own)
    for step in (5, 6):
        early.draw(step)
        assert early.pipeline.unet.config.sample_size == 32
    (half, _, small), (whole, _, large) = asked
    assert (small, large) == (128, 256)
    assert half == whole.model_copy(update={"maps": whole.maps.halved()})


def test_without_a_validation_image_there_is_no_sheet(
    model: Path, manifest: SourceManifest, tmp_path: Path
) -> None:
    train = SourceManifest(manifest.header, tuple(manifest.select(split="train")))
    sheets_of(model, train, tmp_path).draw(1)
    sheets_of(model, manifest, tmp_path, exclude=["MEL", "NV", "BCC"]).draw(1)
    assert not list(tmp_path.iterdir())
