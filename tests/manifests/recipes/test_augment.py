"""Tests of recipes: what is read is what was written, and every fault is one sentence."""

import difflib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import AugmentRecipe, ImagesPlan, PairsPlan, asked
from didgen.manifests.recipes.finetune import FinetuneRecipe, Lora
from didgen.manifests.recipes.fingerprint import fingerprint
from didgen.manifests.recipes.reading import RECIPES, read_recipe
from didgen.manifests.recipes.sampling import AttentionMaps, Guidance, Sampling
from didgen.manifests.recipes.small_model import AutoencoderStage, Build


def written(folder: Path, content: Any) -> Path:
    """A recipe file with this content."""
    path = folder / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def fault(folder: Path, content: Any, kind: type[Any] = FinetuneRecipe) -> str:
    """The sentence with which a recipe is refused."""
    path = written(folder, content)
    with pytest.raises(DidgenError) as caught:
        read_recipe(path, kind)
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


FINETUNE = {"source": "runs/isic2018", "model": "mini"}
AUGMENT = {"source": "runs/isic2018"}


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
    ("content", "where"),
    [
        (FINETUNE | {"steps": 0}, "`steps`"),
        (FINETUNE | {"image_size": 250}, "`image_size`"),
        (FINETUNE | {"prompt_dropout": 1.5}, "`prompt_dropout`"),
        (FINETUNE | {"seed": -1}, "`seed`"),
        (FINETUNE | {"learning_rate": "fast"}, "`learning_rate`"),
        (FINETUNE | {"mixed_precision": "fp8"}, "`mixed_precision`"),
        (FINETUNE | {"kind": "augment"}, "`kind`"),
        ({"model": "mini"}, "`source`"),
        ({"source": "a", "build": {"vocabulary": 10}}, "`build.vocabulary`"),
        (FINETUNE | {"source": 2018}, "`source`"),
        (FINETUNE | {"source": ["a"]}, "`source`"),
        (FINETUNE | {"source": "s3://bucket/a"}, "`source`"),
    ],
)
def test_a_value_out_of_range_names_its_field(
    tmp_path: Path, content: dict[str, Any], where: str
) -> None:
    assert f"{where} is wrong: " in fault(tmp_path, content)


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


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"images": None, "pairs": None}, "nothing to make"),
        ({}, "needs `source`"),
        ({"pairs": None, "images": {"per_class": "fill"}}, "needs `source`"),
    ],
)
def test_a_plan_must_be_possible(tmp_path: Path, content: dict[str, Any], sentence: str) -> None:
    assert sentence in fault(tmp_path, content, AugmentRecipe)


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
    kinds: dict[str, type[Any]] = {"finetune": FinetuneRecipe, "augment": AugmentRecipe}
    kind = yaml.safe_load(path.read_text()).get("kind", "augment")
    if kind in kinds:
        assert read_recipe(path.stem, kinds[kind]) == read_recipe(path, kinds[kind])


shares = st.floats(0, 1)
guidances = st.builds(
    Guidance,
    eta=st.floats(0, 1e3),
    until=shares,
    smoothing_sigma=st.floats(0, 5),
    cross_attention=st.booleans(),
    self_attention=st.booleans(),
)
samplings = st.builds(
    Sampling,
    scheduler=st.sampled_from(["dpm++", "ddim", "pndm"]),
    steps=st.integers(1, 1000),
    cfg=st.floats(1, 50),
    cfg_rescale=shares,
    batch_size=st.integers(1, 64),
    guidance=guidances,
)
# Names that YAML reads as something else where it may: no, null, 1e3, ~.
names = st.sampled_from(
    ["MEL", "NV", "no", "null", "1e3", "~", "0x1", "a: b", "# c", "ÄÖ 🩺", "2020-01-01"]
)
excluded = st.lists(names, max_size=3).map(tuple)
counts = st.integers(1, 10**6) | st.dictionaries(names, st.integers(0, 10**4)) | st.just("fill")
recipes = st.builds(
    AugmentRecipe,
    model=names,
    revision=st.none() | names,
    source=st.sampled_from(["runs/a", "/data/no", "ä ö/: #"]).map(Path),
    images=st.builds(ImagesPlan, per_class=counts, exclude=excluded),
    pairs=st.none()
    | st.builds(
        PairsPlan,
        count=st.integers(0, 10**6),
        layouts=st.sampled_from(["source", "drawn"]),
        exclude=excluded,
    ),
    sampling=samplings,
    shard_size=st.integers(1, 10**4),
    jpeg_quality=st.integers(1, 100),
    seed=st.integers(0, 2**31 - 1),
)


@given(recipe=recipes)
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_recipe_survives_yaml(tmp_path: Path, recipe: AugmentRecipe) -> None:
    path = written(tmp_path, recipe.model_dump(mode="json"))
    again = read_recipe(path, AugmentRecipe)
    assert again == recipe
    assert fingerprint(asked(again)) == fingerprint(asked(recipe))


@given(recipe=recipes, size=st.integers(1, 64))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_the_fingerprint_does_not_see_what_decides_only_speed(
    recipe: AugmentRecipe, size: int
) -> None:
    sampling = recipe.sampling.model_copy(update={"batch_size": size})
    other = recipe.model_copy(update={"sampling": sampling})
    assert fingerprint(asked(other)) == fingerprint(asked(recipe))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"model": "other"},
        {"jpeg_quality": 90},
        {"shard_size": 10},
        {"pairs": None},
        {"sampling": {"steps": 21}},
        {"sampling": {"cfg_rescale": 0.7}},
        {"sampling": {"guidance": {"eta": 19}}},
    ],
)
def test_the_fingerprint_sees_what_decides_the_result(changes: dict[str, Any]) -> None:
    one, other = (AugmentRecipe.model_validate(AUGMENT | c) for c in ({}, changes))
    assert fingerprint(asked(one)) != fingerprint(asked(other))


def test_the_fingerprint_does_not_depend_on_order_or_process() -> None:
    value = {"b": [1, 2.5, None], "a": {"ü": True}}
    shuffled = json.loads('{"a": {"ü": true}, "b": [1, 2.5, null]}')
    assert fingerprint(value) == fingerprint(shuffled)
    code = (
        "from didgen.manifests.recipes.fingerprint import fingerprint;"
        "print(fingerprint({'b': [1, 2.5, None], 'a': {'\\u00fc': True}}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == fingerprint(value)


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Build().vocabulary = 600  # type: ignore[misc]


def test_recipes_are_read_without_torch() -> None:
    code = "import sys, didgen.manifests.recipes.reading; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
