"""Tests of the training that is under way: what is kept of it goes on by today's recipe."""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from augment.build import build_pipeline
from augment.checkpoint import checkpoints, thinned
from augment.finetune import FREE
from augment.prompt import PREFIX
from manifests.files import read_json
from manifests.recipe import FinetuneRecipe
from manifests.recipe_file import read_recipe

RUN = Path(__file__).parents[2] / "benchmarks" / "mini-run"


def test_it_is_a_run_of_the_recipe() -> None:
    asked = read_recipe("mini", FinetuneRecipe).model_dump(mode="json", exclude=FREE | {"steps"})
    assert read_json(RUN / "run.json")["recipe"] == asked | {"processes": 1}


def test_its_weights_are_of_the_recipes_shape() -> None:
    recipe = read_recipe("mini", FinetuneRecipe)
    assert recipe.build is not None
    (checkpoint,) = checkpoints(RUN / "checkpoints" / "unet")
    assert thinned(checkpoint)
    with safe_open(checkpoint / "weights.safetensors", "pt") as file:
        kept = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    built = build_pipeline(recipe.build, [PREFIX], recipe.image_size, recipe.seed)
    expected = {
        f"{part}.{name}": list(value.shape)
        for part in ("unet", "text_encoder")
        for name, value in getattr(built, part).named_parameters()
    }
    # The vocabulary alone depends on the captions.
    (words,) = (name for name in expected if name.endswith("token_embedding.weight"))
    expected[words][0] = kept[words][0]
    assert kept == expected
    built.vae.load_state_dict(load_file(RUN / "autoencoder.safetensors"))


def test_its_text_says_how_far_it_has_come() -> None:
    (checkpoint,) = checkpoints(RUN / "checkpoints" / "unet")
    step = int(checkpoint.name.removeprefix("step-"))
    assert f"step {step:,} of 14,000" in (RUN / "README.md").read_text()
