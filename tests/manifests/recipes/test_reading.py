"""Tests of reading recipes: files, names of bundled ones, and fields that are none."""

import difflib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import AugmentRecipe, ImagesPlan, PairsPlan
from didgen.manifests.recipes.finetune import FinetuneRecipe, Lora
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.recipes.reading import (
    RECIPES,
    read_recipe,
    read_training_recipe,
    recipe_text,
)
from didgen.manifests.recipes.rivals import StyleGanRecipe
from didgen.manifests.recipes.sampling import AttentionMaps
from didgen.manifests.recipes.small_model import AutoencoderStage, Build
from tests.fixtures.recipes import AUGMENT, FINETUNE, fault, written


def test_a_recipe_holds_what_is_written_and_the_papers_values_else(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, FINETUNE | {"steps": 7}), FinetuneRecipe)
    assert recipe.source == Path("runs/isic2018")
    assert recipe.steps == 7
    assert (recipe.learning_rate, recipe.batch_size, recipe.attention_weight) == (1e-5, 4, 0.1)
    plan = read_recipe(written(tmp_path, AUGMENT), AugmentRecipe)
    assert plan.images == ImagesPlan(per_class=1000)
    assert plan.pairs == PairsPlan(count=2500)
    assert (plan.sampling.guidance.eta, plan.sampling.guidance.until) == (20, 0.5)


@pytest.mark.parametrize(
    ("kind", "content", "where", "nearest"),
    [
        (FinetuneRecipe, FINETUNE | {"learning_rat": 1}, "learning_rat", "learning_rate"),
        (FinetuneRecipe, FINETUNE | {"Steps": 1}, "Steps", "steps"),
        (
            FinetuneRecipe,
            {"source": "a", "build": {"unet_chanels": [32]}},
            "build.unet_chanels",
            "unet_channels",
        ),
        (
            AugmentRecipe,
            AUGMENT | {"sampling": {"guidance": {"etta": 1}}},
            "sampling.guidance.etta",
            "eta",
        ),
        (AugmentRecipe, AUGMENT | {"images": {"per_clas": 3}}, "images.per_clas", "per_class"),
    ],
)
def test_an_unknown_field_names_the_nearest(
    tmp_path: Path, kind: type[Any], content: dict[str, Any], where: str, nearest: str
) -> None:
    sentence = fault(tmp_path, content, kind)
    assert f"`{where}` is not a field of a recipe; the nearest one is `{nearest}`." in sentence


SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {
    (): FinetuneRecipe,
    ("lora",): Lora,
    ("maps",): AttentionMaps,
    ("build",): Build,
    ("build", "autoencoder"): AutoencoderStage,
}


@st.composite
def mistyped(draw: st.DrawFn) -> tuple[tuple[str, ...], str, str]:
    """A section of a finetuning recipe, one of its fields, and the field with one slip of a key."""
    section = draw(st.sampled_from(list(SECTIONS)))
    field = draw(st.sampled_from(list(SECTIONS[section].model_fields)))
    place = draw(st.integers(0, len(field) - 1))
    letter = draw(st.sampled_from("aeinrst_") | st.just(""))
    wrong = field[:place] + letter + field[place + draw(st.integers(0, 1)) :]
    assume(wrong and wrong not in SECTIONS[section].model_fields)
    return section, field, wrong


@given(slip=mistyped())
@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_mistyped_field_names_one_of_its_section_as_near_as_the_right_one(
    tmp_path: Path, slip: tuple[tuple[str, ...], str, str]
) -> None:
    section, field, wrong = slip
    content: dict[str, Any] = {wrong: 1}
    for name in reversed(section):
        content = {name: content}
    # The right field may be one that is needed, and is missing now.
    sentence = fault(tmp_path, content)
    where = ".".join((*section, wrong))
    assert f"`{where}` is not a field of a recipe; the nearest one is `" in sentence
    near = sentence.removesuffix("`.").rpartition("`")[2]

    def likeness(name: str) -> float:
        return difflib.SequenceMatcher(None, name, wrong).ratio()

    if likeness(field) >= 0.6:
        assert near in SECTIONS[section].model_fields
        assert likeness(near) >= likeness(field)


def test_a_field_of_another_section_is_named_with_its_place(tmp_path: Path) -> None:
    sentence = fault(tmp_path, AUGMENT | {"eta": 3}, AugmentRecipe)
    assert (
        "`eta` is not a field of a recipe; the nearest one is `sampling.guidance.eta`" in sentence
    )
    sentence = fault(tmp_path, FINETUNE | {"maps": {"rank": 3}})
    assert "`maps.rank` is not a field of a recipe; the nearest one is `lora.rank`." in sentence
    sentence = fault(tmp_path, FINETUNE | {"xyz": 3})
    assert "`xyz` is not a field of a recipe; the nearest one is `" in sentence


@pytest.mark.parametrize(
    "content", ["", "- a\n- b", "7", "a: [", "a: !!python/name:os.system ''", "a: 2024-02-30"]
)
def test_what_is_no_mapping_of_plain_values_is_refused(tmp_path: Path, content: str) -> None:
    fault(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "field"),
    [("seed: 1\nsteps: 2\nseed: 3", "seed"), ("lora: {rank: 4, rank: 8}", "rank")],
)
def test_a_field_that_comes_twice_is_refused(tmp_path: Path, content: str, field: str) -> None:
    assert f"the field {field} comes twice" in fault(tmp_path, content)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DidgenError, match="is not readable YAML"):
        read_recipe(path, FinetuneRecipe)


def test_an_unknown_name_lists_the_bundled_recipes() -> None:
    with pytest.raises(DidgenError, match=r"neither a file nor a bundled recipe.* mini"):
        read_recipe("minni", FinetuneRecipe)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_bundled_recipe_is_sound(path: Path) -> None:
    kind = yaml.safe_load(path.read_text()).get("kind", "augment")
    if kind == "finetune":
        assert read_training_recipe(path.stem) == read_training_recipe(path)
    elif kind == "augment":
        assert read_recipe(path.stem, AugmentRecipe) == read_recipe(path, AugmentRecipe)


def test_a_training_recipe_is_of_the_method_that_it_names(tmp_path: Path) -> None:
    assert type(read_training_recipe("paper-task1")) is FinetuneRecipe
    assert type(read_training_recipe(written(tmp_path, FINETUNE))) is FinetuneRecipe
    rival = read_training_recipe(written(tmp_path, {"method": "stylegan", "source": "a"}))
    assert type(rival) is StyleGanRecipe and rival.r1_weight == 5.0


@pytest.mark.parametrize("method", ["gan", 3, ["stylegan"], None])
def test_a_method_that_is_not_known_is_a_sentence(tmp_path: Path, method: Any) -> None:
    path = written(tmp_path, FINETUNE | {"method": method})
    with pytest.raises(DidgenError, match="must be one of didgen, stylegan"):
        read_training_recipe(path)


def test_a_field_of_another_method_is_not_one_of_this(tmp_path: Path) -> None:
    path = written(tmp_path, FINETUNE | {"r1_weight": 1})
    with pytest.raises(DidgenError, match="`r1_weight` is not a field of a recipe"):
        read_training_recipe(path)
    path = written(tmp_path, {"source": "a", "method": "stylegan", "leak_weight": 1})
    with pytest.raises(DidgenError, match="`leak_weight` is not a field of a recipe"):
        read_training_recipe(path)


def test_recipes_are_read_without_torch() -> None:
    code = "import sys, didgen.manifests.recipes.reading; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recipe_is_printed_with_every_default() -> None:
    recipe = MixRecipe(source=Path("a"), run=Path("b"), ratio=0.5)
    printed = recipe_text(recipe)
    assert MixRecipe.model_validate(yaml.safe_load(printed)) == recipe
    assert "shard_size: 256" in printed and printed.startswith("kind: mix")
