"""Tests of faults: each names the field as it was written, and what may stand there."""

from pathlib import Path
from typing import Any

import pytest

from didgen.downstream.benchmark.recipe import SegmentRecipe
from didgen.manifests.recipes.augment import AugmentRecipe
from tests.fixtures.recipes import fault


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "images: {per_class: 0}",
            "`images.per_class` is 0, but it must be 1 or more or a mapping of names to values or",
        ),
        (
            "images: {per_class: {MEL: -1}}",
            "`images.per_class.MEL` is -1, but it must be 0",
        ),
        (
            "images: {exclude: NV}",
            "`images.exclude` is 'NV', but it must be a list, such as",
        ),
        ("sampling: {mixed_precision: on}", "is 'on', but it must be no or bf16 or fp16 or null."),
        ("gates: {mask_area: [0.1, 2]}", "`gates.mask_area.1` is 2, but it must be 1 or less."),
        ("seed: yes", "`seed` is 'yes', but it must be a whole number."),
        ("sampling: 3", "`sampling` is 3, but it must be a mapping of fields."),
        ("shard_size: true", "`shard_size` is True, but it must be a whole number."),
        ("images: {per_class: {MEL: true}}", "`images.per_class` is {'MEL': True}, but it must"),
        ("images: {per_class: 9999999999}", "is 9999999999, but it must be 2147483647 or less"),
    ],
)
def test_a_fault_says_what_to_write(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in fault(tmp_path, f"kind: augment\npairs: null\n{text}\n", AugmentRecipe)


def test_a_place_in_a_list_is_named(tmp_path: Path) -> None:
    content: dict[str, Any] = {"source": "s", "run": "r", "networks": [{"name": "smp.Unet"}]}
    told = fault(tmp_path, content | {"real": [25, 0]}, SegmentRecipe)
    assert "`real.1` is 0, but it must be 1 or more." in told
    told = fault(tmp_path, content | {"networks": [{"name": "a", "width": 2}]}, SegmentRecipe)
    assert "`networks.0.width` is not a field of a recipe" in told
