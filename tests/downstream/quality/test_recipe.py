"""Tests of the recipe of an assessment."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from didgen.downstream.quality.recipe import QualityRecipe

PLACES = {"real": "source", "synthetic": "run"}


def test_unasked_it_compares_with_what_was_held_out() -> None:
    recipe = QualityRecipe.model_validate(PLACES)
    assert (recipe.real, recipe.synthetic) == (Path("source"), Path("run"))
    assert (recipe.extractor, recipe.weights) == ("inception", "pretrained")
    assert (recipe.against, recipe.config, recipe.size) == ("held-out", None, None)
    assert recipe.judges == () and recipe.lpips is None


def test_a_run_may_lie_in_a_store_and_a_source_may_not() -> None:
    recipe = QualityRecipe.model_validate(PLACES | {"synthetic": "memory://place/run"})
    assert str(recipe.synthetic) == "memory://place/run"
    with pytest.raises(ValidationError, match="real"):
        QualityRecipe.model_validate(PLACES | {"real": "s3://bucket/source"})


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 31},
        {"pairs": 0},
        {"planted": 0},
        {"against": "all"},
        {"config": "masks"},
        {"a": 1},
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        QualityRecipe.model_validate(PLACES | fields)


def test_it_has_one_run_or_several_by_name() -> None:
    recipe = QualityRecipe.model_validate({"real": "source", "runs": {"ours": "a", "theirs": "b"}})
    assert recipe.synthetic == Path("a")
    assert {name: one.synthetic for name, one in recipe.each().items()} == {
        "ours": Path("a"),
        "theirs": Path("b"),
    }
    alone = QualityRecipe.model_validate(PLACES)
    assert alone.each() == {"": alone}
    with pytest.raises(ValidationError, match="or `runs`, not both"):
        QualityRecipe.model_validate(PLACES | {"runs": {"ours": "a"}})
    with pytest.raises(ValidationError, match="runs"):
        QualityRecipe.model_validate({"real": "source", "runs": {"../a": "a"}})
