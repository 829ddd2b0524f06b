"""Tests of recipes of finetuning: what cannot go together, and what a begun run keeps of one."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.recipes.sampling import AttentionMaps, Sampling
from didgen.manifests.recipes.small_model import Build
from didgen.manifests.recipes.training import ADDED, FREE, asked
from tests.fixtures.recipes import FINETUNE, fault, written


def test_a_model_is_loaded_or_built_or_both(tmp_path: Path) -> None:
    assert "give `model` (a folder" in fault(tmp_path, {"source": "a"})
    both = {"source": "a", "model": "mini", "build": {}}
    assert read_recipe(written(tmp_path, both), FinetuneRecipe).build == Build()
    adapted = both | {"lora": {"rank": 4}}
    assert "with `build` all of it is trained" in fault(tmp_path, adapted)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"build": {"autoencoder": {"steps": 0}}}, "needs a `model` to take it from"),
        ({"model": "mini", "caption_thinning": 0.5}, "set `cache: false`"),
        (
            {"model": "mini", "perceptual": {"weights": "w", "downsample": 1024}},
            "images have 512 pixels a side",
        ),
    ],
)
def test_stages_and_prompts_must_be_possible(
    tmp_path: Path, content: dict[str, Any], sentence: str
) -> None:
    assert sentence in fault(tmp_path, {"source": "a"} | content)


def test_what_joins_later_has_to_be_there(tmp_path: Path) -> None:
    content = FINETUNE | {"perceptual_from": 10}
    assert "needs `perceptual`" in fault(tmp_path, content)
    path = written(tmp_path, content | {"perceptual": {"weights": "w.safetensors"}})
    assert read_recipe(path, FinetuneRecipe).perceptual_from == 10


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cache": True}, "needs `cache: false`"),
        ({"image_size": 192}, "a multiple of 128"),
        ({"maps": {"cross_side": 15}}, "`maps` of even sides"),
        ({"maps": {"self_side": 15}}, "`maps` of even sides"),
        ({"steps": 10}, "leaves no step at the whole size"),
        ({"perceptual": {"weights": "w", "downsample": 256}}, "images have 128 pixels a side"),
    ],
)
def test_half_a_size_has_to_fit(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    content = FINETUNE | {"half_size_until": 10, "cache": False, "image_size": 256}
    assert sentence in fault(tmp_path, content | change)
    assert read_recipe(written(tmp_path, content), FinetuneRecipe).half_size_until == 10


def test_only_a_cosine_begins_anew(tmp_path: Path) -> None:
    content = FINETUNE | {"restart_every": 10}
    assert "needs `schedule: cosine`" in fault(tmp_path, content)
    path = written(tmp_path, content | {"schedule": "cosine"})
    assert read_recipe(path, FinetuneRecipe).restart_every == 10


def recipe_of(**fields: Any) -> FinetuneRecipe:
    """A recipe of a loaded model."""
    return FinetuneRecipe.model_validate({"source": "a", "model": "m"} | fields)


def test_a_run_from_before_a_field_is_the_run_of_a_recipe_that_does_not_change_it() -> None:
    """The hash was computed by the version before the fields of `ADDED` and `sampling`."""
    before = "52ec6200c34feb3ee71fc3635b62e888de2494cc0bb4cdcdc00347f157dbcce5"
    assert fingerprint(asked(recipe_of())) == before
    assert fingerprint(asked(recipe_of(**ADDED))) == before


def test_an_added_field_has_the_value_of_before_as_its_default() -> None:
    fields = recipe_of().model_dump(mode="json")
    assert {name: fields[name] for name in ADDED} == ADDED
    assert not FREE & ADDED.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_reduction": "sum"},
        {"attention_timesteps": "signal"},
        {"collections": ["isic2018-task1"]},
        {"exclude": ["NV"]},
        {"gradient_accumulation": 2},
        {"posterior": "sample"},
        {"prompt": "prefix"},
    ],
)
def test_a_changed_field_is_another_run(changes: dict[str, Any]) -> None:
    assert changes.keys() <= ADDED.keys()
    assert asked(recipe_of(**changes)) == asked(recipe_of()) | changes


def test_how_sheets_are_drawn_is_free() -> None:
    assert asked(recipe_of(sampling={"steps": 3})) == asked(recipe_of())


def test_sheets_take_what_is_not_said_from_the_training() -> None:
    training = {"batch_size": 3, "maps": {"cross_side": 8}}
    assert recipe_of(**training).sampling == Sampling(
        batch_size=3, maps=AttentionMaps(cross_side=8)
    )
    own = recipe_of(**training, sampling={"batch_size": 5, "maps": {"sharpness": 1.0}, "cfg": 2})
    assert own.sampling == Sampling(batch_size=5, maps=AttentionMaps(sharpness=1.0), cfg=2)
    for recipe in (recipe_of(**training), own):
        assert FinetuneRecipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"collections": []}, "at least 1 item"),
        ({"prompt": "none"}, "'caption', 'class' or 'prefix'"),
        ({"attention_timesteps": "min-snr"}, "needs `min_snr_gamma`"),
        ({"sampling": {"mixed_precision": "bf16"}}, "in the training's `mixed_precision`"),
        ({"build": {}, "posterior": "sample"}, "AutoencoderTiny, which needs `posterior: mode`"),
        (
            {"half_size_until": 5, "cache": False, "sampling": {"maps": {"cross_side": 15}}},
            "`maps` of even sides",
        ),
    ],
)
def test_fields_that_do_not_fit_are_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        recipe_of(**changes)


def test_the_base_of_comparisons_is_mini_without_what_didgen_adds() -> None:
    """Also without nevi, which no table needs; the shape of all parts is that of mini."""
    mini, base = (read_recipe(n, FinetuneRecipe).model_dump() for n in ("mini", "mini-base"))
    changed = {name: base[name] for name in base if base[name] != mini[name]}
    assert changed == {
        "collections": ("isic2018-task1", "isic2018-task3"),
        "exclude": ("NV",),
        "prompt": "class",
        "attention_weight": 0.0,
        "leak_weight": 0.0,
        "caption_thinning": 0.0,
    }


@pytest.mark.parametrize(
    ("name", "collection", "exclude"),
    [("paper-task1", "isic2018-task1", ()), ("paper-task3", "isic2018-task3", ("NV",))],
)
def test_the_paper_s_recipes_say_all_that_decides_a_training(
    name: str, collection: str, exclude: tuple[str, ...]
) -> None:
    recipe = read_recipe(name, FinetuneRecipe)
    unsaid = FinetuneRecipe.model_fields.keys() - recipe.model_fields_set
    assert unsaid == {
        "revision",
        "build",
        "lora",
        "prior",
        "half_size_until",
        "restart_every",
        "perceptual",
        "perceptual_from",
        "subset",
    }
    assert (recipe.collections, recipe.exclude) == ((collection,), exclude)
    assert (recipe.steps, recipe.batch_size, recipe.learning_rate) == (20_000, 4, 1e-5)
    assert recipe.attention_weight == 0.1
    paper = Sampling(scheduler="pndm", steps=50, batch_size=4)
    assert recipe.sampling == paper
