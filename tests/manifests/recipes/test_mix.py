"""Tests of the recipe of a mix."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from didgen.manifests.recipes.mix import MixRecipe

GIVEN = {"source": "a", "run": "b", "ratio": 0.5}


def test_unasked_it_mixes_all_configs_and_drops_nothing() -> None:
    recipe = MixRecipe.model_validate(GIVEN)
    assert (recipe.source, recipe.run, recipe.ratio) == (Path("a"), Path("b"), 0.5)
    assert (recipe.config, recipe.drop_copies, recipe.shard_size, recipe.seed) == (
        None,
        False,
        256,
        42,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"ratio": -0.1},
        {"ratio": "inf"},
        {"ratio": "nan"},
        {"config": "masks"},
        {"shard_size": 0},
        {"seed": -1},
        {"run": "s3://bucket/run"},
        {"kind": "augment"},
        {"colour": "red"},
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        MixRecipe.model_validate(GIVEN | fields)
