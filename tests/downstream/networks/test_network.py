"""Tests of how a recipe asks for a network."""

from didgen.downstream.benchmark.recipe import ClassifyRecipe

SOUND = {"source": "source", "run": "run", "networks": [{"name": "vgg16"}]}


def test_a_network_is_called_by_its_name_unless_it_says() -> None:
    networks = [{"name": "vgg16"}, {"name": "vgg16", "called": "wide"}]
    recipe = ClassifyRecipe.model_validate(SOUND | {"networks": networks})
    assert [network.called for network in recipe.networks] == ["vgg16", "wide"]
