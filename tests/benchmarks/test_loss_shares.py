"""Tests of the loss shares: the norms are those of each loss alone."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from benchmarks.loss_shares import norms
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.objective import RegionLoss
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.recipes import finetune_recipe


def test_the_norm_of_a_loss_is_that_of_its_own_gradient(
    model: Path, manifest: SourceManifest
) -> None:
    pipeline = load_pipeline(str(model))
    asked = {"model": str(model), "cache": False, "batch_size": 2, "caption_probability": 1.0}
    recipe = finetune_recipe(**asked)
    dataset = RegionDataset(manifest, manifest.select(split="train"), recipe, 1000)
    ((reconstruction, attention),) = norms(pipeline, dataset, recipe, 1)
    alone = RegionLoss(pipeline, recipe.model_copy(update={"attention_weight": 0.0}))
    pipeline.unet.zero_grad()
    alone(default_collate([dataset[n, n] for n in range(2)]))["loss"].backward()
    squares = [p.grad.square().sum() for p in pipeline.unet.parameters() if p.grad is not None]
    assert reconstruction == pytest.approx(torch.stack(squares).sum().sqrt().item(), rel=1e-3)
    assert attention > 0
