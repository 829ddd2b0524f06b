"""Tests of the card of a model: header, licence, and what it was made of."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from didgen.manifests.provenance.model_card import model_card
from didgen.manifests.shards.index import Ingredient

BASE = Ingredient(kind="model", name="mini", licence="MIT", sha256="a" * 64)
DATA = Ingredient(kind="data", name="photos, 9 real images", licence="CC-BY-NC-4.0")


def read(text: str, folder: Path) -> Any:
    """A card as the hub reads it, with the fields of its header."""
    (folder / "README.md").write_text(text)
    return ModelCard.load(folder / "README.md")


def test_its_licence_is_the_strictest_of_its_ingredients(tmp_path: Path) -> None:
    card = read(model_card({"kind": "finetune", "steps": 3}, [BASE, DATA]), tmp_path)
    assert card.data.license == "cc-by-nc-4.0"
    assert (card.data.library_name, card.data.pipeline_tag) == ("diffusers", "text-to-image")
    assert "not-for-diagnosis" in card.data.tags
    assert f"| model: mini | MIT | {'a' * 64} |" in card.text
    assert "| data: photos, 9 real images | CC-BY-NC-4.0 | - |" in card.text
    assert "steps: 3" in card.text and "Not for diagnosis" in card.text


def test_an_ingredient_without_a_licence_is_said_to_have_none(tmp_path: Path) -> None:
    unknown = BASE.model_copy(update={"licence": None})
    card = read(model_card({}, [unknown]), tmp_path)
    assert card.data.license == "other"
    assert "| model: mini | none named |" in card.text


def test_hostile_names_stay_in_their_cell(tmp_path: Path) -> None:
    hostile = BASE.model_copy(update={"name": "a | b |\n---\nlicense: mit\n<script>"})
    card = read(model_card({"model": "x\n```\n# Heading"}, [hostile]), tmp_path)
    assert card.data.license == "mit"
    (row,) = [line for line in card.text.splitlines() if line.startswith("| model: ")]
    assert row.endswith(f"| MIT | {'a' * 64} |") and "<script>" not in card.text


def test_the_same_ingredients_give_the_same_text() -> None:
    assert model_card({"b": 1, "a": 2}, [BASE, DATA]) == model_card({"b": 1, "a": 2}, [BASE, DATA])
