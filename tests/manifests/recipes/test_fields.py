"""Tests of the fields of recipes: their ranges, and that they are fixed."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from didgen.manifests.recipes.small_model import Build
from tests.fixtures.recipes import FINETUNE, fault


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


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Build().vocabulary = 600  # type: ignore[misc]
