"""Tests of the training that is under way: what is kept of it goes on by today's recipe."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from augment.build import build_autoencoder, build_unet
from augment.checkpoint import checkpoints, thinned
from manifests.files import read_json
from manifests.recipe import FinetuneRecipe
from manifests.recipe_file import read_recipe

RUN = Path(__file__).parents[2] / "benchmarks" / "mini-run"
FREE = {"checkpoint_every", "gradient_checkpointing", "save_as", "steps"}
"""Fields that are no part of a run whose cycles may be followed by others."""


def test_it_is_a_run_of_the_recipe() -> None:
    asked = read_recipe("mini", FinetuneRecipe).model_dump(mode="json", exclude=FREE)
    assert read_json(RUN / "run.json")["recipe"] == asked | {"processes": 1}


def test_its_weights_are_of_the_recipes_shape() -> None:
    recipe = read_recipe("mini", FinetuneRecipe)
    assert recipe.build is not None
    (checkpoint,) = checkpoints(RUN / "checkpoints" / "unet")
    assert thinned(checkpoint)
    with safe_open(checkpoint / "weights.safetensors", "pt") as file:
        kept = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    unet = build_unet(recipe.build, recipe.image_size // 8)
    expected = {f"unet.{name}": list(value.shape) for name, value in unet.named_parameters()}
    assert {name: shape for name, shape in kept.items() if name in expected} == expected
    assert all(name.startswith(("unet.", "text_encoder.")) for name in kept)
    vae = build_autoencoder(recipe.build.autoencoder)
    vae.load_state_dict(load_file(RUN / "autoencoder.safetensors"))
