"""Tests of the recipe of a study: its references, and names that stand for one thing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from didgen.manifests.recipes.study import StudyRecipe, references, resolved

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,8}(\.(model|images|pairs))?", fullmatch=True)

VALUES = st.recursive(
    st.one_of(st.integers(), st.text(max_size=5).filter(lambda text: "$" not in text)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES, st.lists(NAMES, max_size=4))
def test_every_reference_is_found_and_replaced_wherever_it_stands(
    value: Any, names: list[str]
) -> None:
    asked = {
        "a": value,
        "b": [{"c": f"${name}/inside"} for name in names],
        "d": "a $name in a text",
    }
    assert [*references(asked)] == names
    found = resolved(asked, {name: f"/place of {name}" for name in names})
    assert found["a"] == value and found["d"] == asked["d"]
    assert found["b"] == [{"c": f"/place of {name}/inside"} for name in names]
    assert resolved(asked, {}) == asked


def test_a_name_stands_for_one_thing() -> None:
    step = {"recipe": "mini-pairs", "hours": 1}
    study = {"source": "a", "systems": {"one": {"pairs": step}}, "segment": {"one": step}}
    with pytest.raises(ValidationError, match="one names two of systems"):
        StudyRecipe.model_validate(study)
    both = {"model": "mini", "train": step}
    with pytest.raises(ValidationError, match="or `train`, which makes one"):
        StudyRecipe.model_validate({"source": "a", "systems": {"one": both}})
