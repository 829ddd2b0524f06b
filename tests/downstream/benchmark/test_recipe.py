"""Tests of the recipes of benchmarks: bundled ones are sound, each fault is one sentence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from didgen.downstream.benchmark.recipe import ARMS, SEGMENT_ARMS, ClassifyRecipe, SegmentRecipe
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.reading import RECIPES, read_recipe

SOUND = {"source": "source", "run": "run", "networks": [{"name": "vgg16"}]}


def test_the_papers_recipe_is_bundled() -> None:
    recipe = read_recipe("isic2018-classify", ClassifyRecipe)
    names = [network.name for network in recipe.networks]
    assert names == ["vgg16", "densenet121", "vit_base_patch16_224"]
    assert {network.weights for network in recipe.networks} == {"pretrained"}
    assert (recipe.image_size, recipe.exclude, recipe.patience) == (224, ("NV",), 10)
    assert recipe.arms == ARMS
    assert len(recipe.seeds) >= 3


def test_the_cpu_recipe_is_bundled() -> None:
    recipe = read_recipe("isic2018-classify-cpu", ClassifyRecipe)
    assert recipe.image_size == 128
    assert {"original", "oversampled", "didgen"} <= set(recipe.arms)


def test_the_judges_recipe_is_bundled_and_fits_to_judge_with() -> None:
    recipe = read_recipe("isic2018-judge", ClassifyRecipe)
    assert (recipe.run, recipe.keep_weights) == (None, True)
    assert len(recipe.seeds) > 1


def test_every_bundled_recipe_of_these_kinds_is_read() -> None:
    for path in RECIPES.glob("*.yaml"):
        kind = yaml.safe_load(path.read_text())["kind"]
        if kind in ("classify", "segment"):
            read_recipe(path, ClassifyRecipe if kind == "classify" else SegmentRecipe)


@pytest.mark.parametrize("field", ["source", "run"])
def test_a_store_is_no_folder(tmp_path: Path, field: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"kind": "classify", **SOUND, field: "s3://bucket/a"}))
    with pytest.raises(DidgenError, match=f"`{field}` is wrong: .*s3://bucket/a is a URL; this"):
        read_recipe(path, ClassifyRecipe)


def test_the_papers_segmentation_recipe_is_bundled() -> None:
    recipe = read_recipe("isic2018-segment", SegmentRecipe)
    assert {"dcsaunet", "xboundformer"} <= {network.name for network in recipe.networks}
    assert recipe.real == (1000, None)
    assert recipe.collections == ("isic2018-task1",)
    assert (recipe.patience, recipe.arms) == (20, SEGMENT_ARMS)
    assert len(recipe.seeds) >= 3


def test_the_cpu_segmentation_recipe_is_bundled() -> None:
    recipe = read_recipe("isic2018-segment-cpu", SegmentRecipe)
    assert (recipe.image_size, recipe.real) == (128, (100, 1000))
    assert len(recipe.seeds) >= 3
    assert recipe.arms == SEGMENT_ARMS


SEGMENT = {"source": "source", "run": "run", "networks": [{"name": "smp.Unet"}]}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"real": []}, "`real`"),
        ({"real": [100, 100]}, "`real` has 100 twice"),
        ({"real": [0]}, "`real.0"),
        ({"collections": ["a", "a"]}, "`collections` has a twice"),
        ({"arms": ["oversampled"]}, "`arms.0`"),
        ({"run": None, "arms": ["didgen-filtered"]}, "the arm `didgen-filtered` needs `run`"),
        ({"arms": ["original"]}, "`run` is given, but `arms` has no `didgen`"),
        ({"filter": {"folds": 1}}, "`filter.folds`"),
        ({"filter": {"keep": 1.0}}, "`filter.keep`"),
        ({"filter": {"share": 0.5}}, "`filter.share` is not a field"),
        ({"loss": "hinge"}, "`loss`"),
        ({"positive": "MEL"}, "`positive` is not a field"),
    ],
)
def test_a_fault_of_a_segmentation_is_one_sentence(
    fields: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(SEGMENT | fields))
    with pytest.raises(DidgenError) as caught:
        read_recipe(path, SegmentRecipe)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"networks": []}, "`networks`"),
        ({"networks": [{"name": "vgg16", "width": 2}]}, "`networks.0.width` is not a field"),
        ({"networks": [{"name": "vgg16"}] * 2}, "`networks` has vgg16 twice; set another `called`"),
        ({"networks": [{"name": "../vgg16"}]}, "`networks.0.called`"),
        ({"seeds": [3, 3]}, "`seeds` has 3 twice"),
        ({"arms": ["original", "original"]}, "`arms` has original twice"),
        ({"arms": ["more"]}, "`arms.0`"),
        ({"run": None}, "the arm `didgen` needs `run`"),
        ({"run": None, "arms": ["original-epochs"]}, "the arm `original-epochs` needs `run`"),
        ({"arms": ["original"]}, "`arms` has no `didgen`"),
        ({"warmup": 1.0}, "`warmup`"),
        ({"mixed_precision": "int8"}, "`mixed_precision`"),
        ({"leraning_rate": 1}, "the nearest one is `learning_rate`"),
    ],
)
def test_a_fault_is_one_sentence(fields: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(SOUND | fields))
    with pytest.raises(DidgenError) as caught:
        read_recipe(path, ClassifyRecipe)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
