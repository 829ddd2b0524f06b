"""Tests of recipes of finetuning: what cannot go together is refused."""

from pathlib import Path
from typing import Any

import pytest

from didgen.manifests.recipes.finetune import FinetuneRecipe
from didgen.manifests.recipes.reading import read_recipe
from didgen.manifests.recipes.small_model import Build
from tests.fixtures.recipes import FINETUNE, fault, written


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
