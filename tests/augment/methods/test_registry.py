"""Tests of the registry: each method that a recipe or a model may name is one that can be had."""

from pkgutil import resolve_name
from typing import get_args

import pytest

from didgen.augment.methods.registry import METHODS
from didgen.manifests.choices import Method
from didgen.manifests.provenance.model_card import RIVALS
from didgen.manifests.recipes.reading import TRAINING


def test_every_method_has_a_recipe_a_place_and_a_card() -> None:
    assert {*METHODS} == {*get_args(Method)} == {*TRAINING} == {"didgen", *RIVALS}


@pytest.mark.parametrize("method", METHODS)
def test_its_places_are_functions(method: Method) -> None:
    places = METHODS[method]
    assert callable(resolve_name(places.opens)) and callable(resolve_name(places.trains))
