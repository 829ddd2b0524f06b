"""Tests of the fields of recipes: their ranges, and that they are fixed."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from didgen.manifests.recipes.small_model import Build
from tests.fixtures.recipes import FINETUNE, fault


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (FINETUNE | {"steps": 0}, "`steps` is 0, but it must be 1 or more."),
        (FINETUNE | {"image_size": 250}, "`image_size` is 250, but it must be a multiple of 64."),
        (FINETUNE | {"prompt_dropout": 1.5}, "`prompt_dropout` is 1.5, but it must be 1 or less."),
        (FINETUNE | {"seed": -1}, "`seed` is -1, but it must be 0 or more."),
        (FINETUNE | {"learning_rate": "fast"}, "`learning_rate` is 'fast', but it must be a num"),
        (FINETUNE | {"mixed_precision": "fp8"}, "'fp8', but it must be no or bf16 or fp16 or null"),
        (FINETUNE | {"kind": "augment"}, "is a recipe for `didgen augment`; those for `didgen fi"),
        ({"model": "mini"}, "`source` is missing; add it."),
        ({"source": "a", "build": {"vocabulary": 10}}, "`build.vocabulary` is 10, but it must be"),
        (FINETUNE | {"source": 2018}, "`source` is 2018, but it must be a path."),
        (FINETUNE | {"source": ["a"]}, "`source` is ['a'], but it must be a path."),
        (FINETUNE | {"source": "s3://bucket/a"}, "`source` is wrong: s3://bucket/a is a URL"),
        (FINETUNE | {"source": ""}, "`source` is wrong: the path is empty; name a folder or file."),
        (FINETUNE | {"source": "a\0"}, "`source` is wrong: the path holds a zero byte; name a"),
    ],
)
def test_a_value_out_of_range_says_what_to_write(
    tmp_path: Path, content: dict[str, Any], sentence: str
) -> None:
    assert sentence in fault(tmp_path, content)


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Build().vocabulary = 600  # type: ignore[misc]
