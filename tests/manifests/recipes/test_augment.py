"""Tests of recipes: what is read is what was written, and every fault is one sentence."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from didgen.manifests.recipes.augment import ADDED, AugmentRecipe, ImagesPlan, PairsPlan, asked
from didgen.manifests.recipes.fingerprint import fingerprint, without_added
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.recipes.sampling import Annotation, Guidance, Sampling
from tests.fixtures.recipes import AUGMENT, fault, written


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


shares = st.floats(0, 1)

guidances = st.builds(
    Guidance,
    eta=st.floats(0, 1e3),
    until=shares,
    smoothing_sigma=st.floats(0, 5),
    cross_attention=st.booleans(),
    self_attention=st.booleans(),
    normaliser=st.sampled_from(["region", "paper"]),
)

samplings = st.builds(
    Sampling,
    scheduler=st.sampled_from(["dpm++", "ddim", "pndm"]),
    steps=st.integers(1, 1000),
    cfg=st.floats(1, 50),
    cfg_rescale=shares,
    batch_size=st.integers(1, 64),
    guidance=guidances,
    annotation=st.builds(Annotation, timestep=st.none() | st.integers(0, 999), flat=shares),
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
        {"sampling": {"guidance": {"normaliser": "paper"}}},
        {"sampling": {"guidance": {"update": "after"}}},
        {"sampling": {"guidance": {"every": 2}}},
        {"sampling": {"compile": True}},
        {"sampling": {"cfg_interval": [0.28, 5.42]}},
        {"sampling": {"cads": {"noise": 0.1}}},
        {"sampling": {"apg": {"parallel": 0}}},
        {"sampling": {"autoguidance": "early"}},
        {"variations": {"strength": 0.4}},
        {"sampling": {"annotation": {"timestep": 0}}},
        {"sampling": {"annotation": {"flat": 0}}},
        {"gates": {"separability": 0.5}},
        {"gates": {"attention_contrast": 0.5}},
    ],
)
def test_the_fingerprint_sees_what_decides_the_result(changes: dict[str, Any]) -> None:
    one, other = (AugmentRecipe.model_validate(AUGMENT | c) for c in ({}, changes))
    assert fingerprint(asked(one)) != fingerprint(asked(other))


@pytest.mark.parametrize(
    ("sampling", "before"),
    [
        ({}, "1c2ab08c5b6241c76ba01da24f6997903c0c96dfb809292545862021f3fa5a25"),
        (
            {"guidance": {"eta": 80}},
            "ab27ef1744bd4545f635b4677faa4f6780b01eb7d2ae5842c7b7b89facc6c4dc",
        ),
    ],
)
def test_a_run_from_before_a_field_is_the_run_of_a_recipe_that_does_not_change_it(
    sampling: dict[str, Any], before: str
) -> None:
    """The hashes were computed by the version before the fields of `ADDED`."""
    recipe = AugmentRecipe.model_validate({"source": "a", "sampling": sampling})
    assert fingerprint(asked(recipe)) == before
    defaults = AugmentRecipe.model_validate({"source": "a"}).model_dump(mode="json")
    assert without_added(defaults, ADDED)["sampling"] != defaults["sampling"]
    for section in ("guidance", "annotation"):
        for name, value in ADDED["sampling"][section].items():
            assert defaults["sampling"][section][name] == value
    for name in ADDED["sampling"].keys() - {"guidance", "annotation"}:
        assert defaults["sampling"][name] == ADDED["sampling"][name]
    varied = AugmentRecipe.model_validate({"source": "a", "sampling": {"cads": {"noise": 0.1}}})
    assert asked(varied)["sampling"]["cads"] == {"noise": 0.1}


def test_variations_start_from_the_image_of_a_pairs_mask(tmp_path: Path) -> None:
    varied = AUGMENT | {"variations": {"strength": 0.4}}
    for content, sentence in (
        (varied | {"pairs": {"layouts": "drawn"}}, "they need `pairs.layouts` of the source"),
        (varied | {"pairs": {"layouts": {"run": "r"}}}, "they need `pairs.layouts` of the source"),
        ({"variations": {"strength": 0.4}, "pairs": None}, "`variations` needs `source`"),
        (varied | {"sampling": {"scheduler": "pndm"}}, "PNDM begins from noise alone"),
        (AUGMENT | {"variations": {"strength": 0}}, "strength"),
    ):
        assert sentence in fault(tmp_path, content, AugmentRecipe)
