"""Tests of the recipes of benchmarks: bundled ones are sound, each fault is one sentence."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from didgen.downstream.benchmark.recipe import BenchmarkRecipe, ClassifyRecipe, SegmentRecipe
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.reading import RECIPES, read_recipe
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command

SOUND = {"source": "source", "runs": {"didgen": "run"}, "networks": [{"name": "vgg16"}]}


def names(recipe: BenchmarkRecipe) -> set[str]:
    return {arm.name for arm in recipe.arms}


def test_the_papers_recipe_is_bundled() -> None:
    recipe = read_recipe("isic2018-classify", ClassifyRecipe)
    networks = [network.name for network in recipe.networks]
    assert networks == ["vgg16", "densenet121", "vit_base_patch16_224"]
    assert {network.weights for network in recipe.networks} == {"pretrained"}
    assert (recipe.image_size, recipe.exclude, recipe.patience) == (224, ("NV",), 10)
    assert {*ClassifyRecipe.default_arms, "mixup", "didgen"} <= names(recipe)
    assert len(recipe.seeds) >= 3


def test_the_cpu_recipe_is_bundled() -> None:
    recipe = read_recipe("isic2018-classify-cpu", ClassifyRecipe)
    assert recipe.image_size == 128
    assert {"original", "oversampled", "didgen"} <= names(recipe)
    assert {network.weights == "none" for network in recipe.networks} == {True, False}
    assert None in recipe.real and len(recipe.real) > 1


def test_the_judges_recipe_is_bundled_and_fits_to_judge_with() -> None:
    recipe = read_recipe("isic2018-judge", ClassifyRecipe)
    assert (recipe.runs, recipe.keep_weights) == ({}, True)
    assert len(recipe.seeds) > 1


def test_every_bundled_recipe_of_these_kinds_is_read() -> None:
    for path in RECIPES.glob("*.yaml"):
        kind = yaml.safe_load(path.read_text())["kind"]
        if kind in ("classify", "segment"):
            recipe = read_recipe(path, ClassifyRecipe if kind == "classify" else SegmentRecipe)
            assert not recipe.changed


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"source": "s3://bucket/a"}, "source"),
        ({"runs": {"didgen": "s3://bucket/a"}}, "runs.didgen"),
    ],
)
def test_a_store_is_no_folder(tmp_path: Path, fields: dict[str, Any], field: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"kind": "classify", **SOUND, **fields}))
    with pytest.raises(DidgenError, match=f"`{field}` is wrong: .*s3://bucket/a is a URL; this"):
        read_recipe(path, ClassifyRecipe)


def test_the_papers_segmentation_recipe_is_bundled() -> None:
    recipe = read_recipe("isic2018-segment", SegmentRecipe)
    assert {"dcsaunet", "xboundformer"} <= {network.name for network in recipe.networks}
    assert recipe.real == (1000, None)
    assert recipe.collections == ("isic2018-task1",)
    assert recipe.patience == 20
    assert {"original", "original-epochs", "copy-paste", "didgen"} <= names(recipe)
    assert len(recipe.seeds) >= 3


def test_the_cpu_segmentation_recipe_is_bundled() -> None:
    recipe = read_recipe("isic2018-segment-cpu", SegmentRecipe)
    assert recipe.image_size == 128
    assert None in recipe.real and len(recipe.real) > 1
    assert len(recipe.seeds) >= 3
    assert {"original", "copy-paste", "didgen"} <= names(recipe)


def test_a_network_is_called_by_its_name_unless_it_says() -> None:
    networks = [{"name": "vgg16"}, {"name": "vgg16", "called": "wide"}]
    recipe = ClassifyRecipe.model_validate(SOUND | {"networks": networks})
    assert [network.called for network in recipe.networks] == ["vgg16", "wide"]


def test_a_recipe_of_one_run_is_read_and_says_what_it_is_now() -> None:
    given = {"source": "s", "run": "made", "networks": [{"name": "vgg16"}]}
    old = SegmentRecipe.model_validate(given)
    assert [(arm.name, arm.run, arm.use) for arm in old.arms] == [
        ("original", None, "original"),
        ("original-epochs", None, "original-epochs"),
        ("didgen", "didgen", "union"),
        ("didgen-filtered", "didgen", "filter"),
    ]
    assert old.changed == (
        "`run: made` is now `runs: {didgen: made}`",
        "the arm `didgen` is now `{name: didgen, run: didgen, use: union}`",
        "the arm `didgen-filtered` is now `{name: didgen-filtered, run: didgen, use: filter}`",
    )
    again = SegmentRecipe.model_validate_json(old.model_dump_json())
    assert again.model_dump() == old.model_dump()
    assert again.changed == ()
    alone = ClassifyRecipe.model_validate(given | {"run": None})
    assert [arm.name for arm in alone.arms] == [
        "original",
        "oversampled",
        "class-weighted",
        "focal",
    ]


def test_a_run_may_be_a_record_of_folders_by_seed() -> None:
    asked = SOUND | {"runs": {"didgen": {0: "a", 1: "b"}}}
    recipe = ClassifyRecipe.model_validate(asked | {"seeds": [1, 0]})
    assert [recipe.run_folder("didgen", None, seed) for seed in (0, 1)] == [Path("a"), Path("b")]
    again = recipe.model_validate(recipe.model_dump(mode="json"))
    assert again == recipe
    with pytest.raises(ValueError, match="the run didgen in `runs` has no folder for seed 2"):
        ClassifyRecipe.model_validate(asked | {"seeds": [0, 2]})


def test_a_run_may_have_a_folder_for_each_scale_and_seed() -> None:
    recipe = ClassifyRecipe.model_validate(SOUND | {"runs": {"didgen": "made/{real}-{seed}"}})
    assert recipe.run_folder("didgen", 10, 3) == Path("made/10-3")
    assert recipe.run_folder("didgen", None, 0) == Path("made/all-0")


SEGMENT = {"source": "source", "runs": {"didgen": "run"}, "networks": [{"name": "smp.Unet"}]}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"real": []}, "`real`"),
        ({"real": [100, 100]}, "`real` has 100 twice"),
        ({"real": [0]}, "`real.0"),
        ({"collections": ["a", "a"]}, "`collections` has a twice"),
        ({"arms": ["oversampled", "didgen"]}, "the arm `oversampled` is none of `segment`"),
        ({"runs": {}, "arms": ["didgen-filtered"]}, "needs the run didgen in `runs`"),
        ({"arms": ["original"]}, "`runs` has didgen, but `arms` has none"),
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
        ({"arms": ["original", "original"]}, "`arms` has original twice; name one otherwise"),
        ({"arms": ["more"]}, "more is no use of an arm; the nearest one is "),
        ({"runs": {}, "arms": ["didgen"]}, "the arm `didgen` needs the run didgen in `runs`"),
        ({"runs": {}, "arms": ["original-epochs"]}, "`original-epochs` needs `runs`, which say"),
        ({"arms": ["original"]}, "`runs` has didgen, but `arms` has none that trains on it"),
        ({"arms": ["didgen", "copy-paste"]}, "the arm `copy-paste` is none of `classify`"),
        ({"arms": [{"name": "a", "use": "half"}]}, "the arm `a` needs `run`"),
        ({"arms": [{"name": "a", "use": "focal", "run": "didgen"}]}, "the arm `a` takes no `run`"),
        ({"arms": [{"name": "a", "use": "union", "run": "didgen", "share": 0.5}]}, "takes none"),
        ({"arms": [{"name": "a", "use": "focal", "weight": 0.5}]}, "for samples of a run"),
        ({"arms": [{"name": "a", "use": "union", "run": "didgen", "filter": True}]}, "is none of"),
        ({"arms": [{"name": "a/b", "use": "focal"}]}, "`arms.0.name`"),
        ({"seeds_at": [2, 1]}, "`seeds_at` has 2 numbers for 1 scales of `real`"),
        ({"seeds": [0, 1], "seeds_at": [3]}, "`seeds_at` asks for 3 seeds and `seeds` has 2"),
        ({"outside": "source/"}, "`outside` is the benchmark's own source: it needs `split: test`"),
        ({"outside": {"source": "source", "split": "val"}}, "it needs `split: test`"),
        ({"scope": "open"}, "`scope`"),
        ({"real": [0]}, "`real.0"),
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


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("isic2018-classify-cpu", {}),
        # The source of noise has 18 pairs.
        ("isic2018-segment-cpu", {"real": [8, 12, None], "collections": None}),
    ],
)
def test_the_dry_run_of_a_cpu_recipe_counts_what_its_comment_says(
    name: str,
    changes: dict[str, Any],
    source: Path,
    make_run: Callable[..., Path],
    tmp_path: Path,
    command: Command,
) -> None:
    text = (RECIPES / f"{name}.yaml").read_text()
    (said,) = re.findall(r"(\d+) trainings of \d+ steps at most", text)
    train = SourceManifest.read(source).select(split="train")
    layouts = [record.key for record in train[:2]]
    run = make_run(tmp_path / "run", trained_on=TrainedOn.of(train), layouts=layouts)
    asked = yaml.safe_load(text) | {"source": str(source), "runs": {"didgen": str(run)}, **changes}
    # The weights are made by a benchmark script, once.
    asked["networks"] = [network | {"weights": "none"} for network in asked["networks"]]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(asked))
    told = command(asked["kind"], path, "--dry-run")
    assert told.code == 0
    assert f"\n{said} trainings, " in told.out


def test_few_images_need_many_seeds() -> None:
    (caution,) = ClassifyRecipe.model_validate(SOUND | {"real": [50, 25]}).cautions
    assert caution.startswith("The scale 25 has 5 seeds: ")
    assert ClassifyRecipe.model_validate(SOUND | {"real": [50, None]}).cautions == []
    many = {"real": [10, 50], "seeds": list(range(10)), "seeds_at": [10, 5]}
    recipe = ClassifyRecipe.model_validate(SOUND | many)
    assert recipe.cautions == []
    assert (len(recipe.seeds_of(10)), recipe.seeds_of(50)) == (10, (0, 1, 2, 3, 4))
    # Validation compares uses by the seeds that every scale has.
    assert recipe.searched == recipe.seeds_of(50)
    assert recipe.model_copy(update={"search": 2}).searched == (0, 1)
    (caution,) = recipe.model_copy(update={"seeds_at": (5, 10)}).cautions
    assert caution.startswith("The scale 10 has 5 seeds: ")
    assert recipe.model_copy(update={"seeds_at": (5, 10), "test": False}).cautions == []
