"""Tests of the ControlNet: its contract, zero convolutions, the frozen base and its decoder."""

import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import ControlNetModel, StableDiffusionPipeline
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import default_collate

from didgen.augment.device import Device
from didgen.augment.diffusion.model_folder import load_pipeline
from didgen.augment.finetuning.dataset import RegionDataset
from didgen.augment.finetuning.objective import RegionLoss
from didgen.augment.finetuning.training_images import read_training_images
from didgen.augment.generation.prepare import prepare_generation
from didgen.augment.methods.generator import Generator
from didgen.augment.methods.registry import open_model, train_model
from didgen.augment.rivals.controlnet import ControlLoss, drawn_pairs
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.rivals import ControlNetRecipe
from tests.contracts.rival import RivalContract


def tiny(source: Path, model: Path, **changes: Any) -> ControlNetRecipe:
    """A recipe of seconds."""
    fields: dict[str, Any] = {
        "source": source,
        "model": str(model),
        "image_size": 256,
        "steps": 3,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "embedding_channels": (4, 4, 8, 8),
        "mixed_precision": "no",
        "checkpoint_every": 1,
        "sampling": {"steps": 2},
    }
    return ControlNetRecipe.model_validate(fields | changes)


@pytest.fixture(scope="module")
def base(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a licence."""
    folder = tmp_path_factory.mktemp("base") / "model"
    shutil.copytree(model, folder)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    return folder


class TestControlNet(RivalContract):
    """The contract of rivals."""

    draws = ("pairs",)
    base: ClassVar[Path]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def on_a_base(cls, base: Path) -> None:
        cls.base = base

    @classmethod
    def recipe(cls, source: Path) -> ControlNetRecipe:
        return tiny(source, cls.base)

    def test_its_directory_loads_in_diffusers_and_the_base_is_as_it_was(
        self, trained: Path
    ) -> None:
        control = ControlNetModel.from_pretrained(trained, subfolder="controlnet")
        assert control.config.conditioning_channels == 3
        assert str(self.base) not in (trained / "controlnet" / "config.json").read_text()
        plain = StableDiffusionPipeline.from_pretrained(trained, safety_checker=None)
        kept = load_file(self.base / "unet" / "diffusion_pytorch_model.safetensors")
        assert all(kept[name].equal(value) for name, value in plain.unet.state_dict().items())
        # The copy has left what it was a copy of, and its zero convolutions are no zeros.
        assert not control.conv_in.weight.equal(plain.unet.conv_in.weight)
        assert control.controlnet_mid_block.weight.abs().max() > 0

    def test_masks_of_its_pairs_are_their_layouts_and_decide_the_image(
        self, generator: Generator, device: Device
    ) -> None:
        (one, *_), layouts = self.batch("pairs")
        assert layouts is not None
        drawings = [
            generator.draw([one], [(5, 0)], layouts[place : place + 1], device) for place in (0, 1)
        ]
        for place, drawing in enumerate(drawings):
            np.testing.assert_array_equal(drawing.masks, layouts[place : place + 1])
        assert (drawings[0].images != drawings[1].images).any()

    def test_it_says_what_its_pipeline_lacks(self, trained: Path) -> None:
        sampling = {"steps": 2, "batch_size": 2, "cfg_rescale": 0.7}
        with pytest.raises(DidgenError, match="cfg_rescale"):
            prepare_generation(self.asked(trained, sampling=sampling))

    def test_a_damaged_copy_is_told(self, trained: Path, tmp_path: Path) -> None:
        shutil.copytree(trained, tmp_path / "model")
        (tmp_path / "model" / "controlnet" / "config.json").unlink()
        with pytest.raises(DidgenError, match="copy the model directory again"):
            open_model(self.asked(tmp_path / "model"))


def batch_of(source: Path, recipe: ControlNetRecipe) -> dict[str, Any]:
    """The first samples of a training."""
    manifest, records = read_training_images(recipe)
    dataset = RegionDataset(manifest, records, recipe, 1000)
    dataset.layouts = True
    return default_collate([dataset[number, number] for number in (0, 1)]) | {"step": 0}


def test_before_it_is_trained_it_predicts_what_its_base_does(source: Path, base: Path) -> None:
    """Zero convolutions: Eq. 1 of the paper with all of Z at 0."""
    recipe = tiny(source, base, cache=False)
    batch = batch_of(source, recipe)
    controlled = ControlLoss(load_pipeline(str(base)), recipe).eval()
    plain = RegionLoss(load_pipeline(str(base)), recipe).eval()
    with torch.no_grad():
        torch.testing.assert_close(controlled(batch)["loss"], plain(batch)["loss"])
        nn.init.normal_(controlled.control.controlnet_mid_block.weight)
        assert controlled(batch)["loss"] != plain(batch)["loss"]


def test_features_of_the_copy_are_added_to_those_of_the_frozen_encoder(
    source: Path, base: Path
) -> None:
    """The oracle moves the base's own features by hooks."""
    recipe = tiny(source, base, cache=False)
    batch = batch_of(source, recipe)
    loss = ControlLoss(load_pipeline(str(base)), recipe).eval()
    torch.manual_seed(0)
    nn.init.normal_(loss.control.controlnet_mid_block.weight, std=0.1)
    noisy, at = batch["noise"], batch["timestep"]
    with torch.no_grad():
        assert loss.text_encoder is not None
        context = loss.text_encoder(torch.zeros(2, 77, dtype=torch.long))[0]
        _, added = loss.control(
            noisy, at, context, batch["layout"].expand(-1, 3, -1, -1), return_dict=False
        )
        hook = loss.unet.mid_block.register_forward_hook(lambda _, given, output: output + added)
        wanted: Tensor = loss.unet(noisy, at, context).sample
        hook.remove()
        found = loss.prediction(noisy, at, context, batch)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert added.abs().max() > 1e-3


def test_the_mask_lies_as_its_image_does(source: Path, base: Path) -> None:
    recipe = tiny(source, base, cache=False, orientations="dihedral")
    manifest, records = read_training_images(recipe)
    dataset = RegionDataset(manifest, records, recipe, 1000)
    dataset.layouts = True
    for number in range(6):
        item = dataset[number, 0]
        small = nn.functional.adaptive_avg_pool2d(item["layout"], 32)
        torch.testing.assert_close(small, item["mask"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("unlocked", [None, 2e-4])
def test_the_copy_trains_and_the_decoder_where_it_is_unlocked(
    source: Path, base: Path, tmp_path: Path, unlocked: float | None
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    recipe = tiny(source, base, steps=1, decoder_learning_rate=unlocked, weight_decay=0)
    model = train_model(recipe, tmp_path / "run")
    weights = "unet/diffusion_pytorch_model.safetensors"
    before, after = load_file(base / weights), load_file(model / weights)
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    changed = {name for name, change in moved.items() if change}
    assert all(name.startswith(("up_blocks", "conv_norm_out", "conv_out")) for name in changed)
    assert bool(changed) == (unlocked is not None)
    if unlocked:
        # The first step of Adam is its rate long.
        assert max(moved.values()) == pytest.approx(unlocked, rel=0.05)


def test_a_training_draws_pairs_of_its_own_masks(source: Path, base: Path) -> None:
    batch = batch_of(source, tiny(source, base, cache=False))
    pipeline = load_pipeline(str(base))
    loss = ControlLoss(pipeline, tiny(source, base, cache=False)).eval()
    layouts = batch["layout"]
    prompts = ["An image of <lesion> on <skin>."] * 2
    images = drawn_pairs(pipeline, loss.control, prompts, [1, 2], layouts, loss.recipe.sampling)
    assert images.shape == (2, 256, 256, 3) and images.std() > 0


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"lora": {}}, "`lora` is not for a ControlNet"),
        ({"attention_weight": 0.1}, "less than or equal to 0"),
        ({"leak_weight": 0.1}, "of 0"),
        ({"embedding_channels": (4, 4)}, "needs 4 numbers"),
    ],
)
def test_what_a_controlnet_does_not_have_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        tiny(Path("a"), Path("b"), **fields)
