"""The variety of a sampling, as a recipe asks for it."""

from didgen.augment.variety.variety import Variety
from didgen.manifests.recipes.sampling import Sampling


def test_a_recipe_that_asks_for_none_has_none() -> None:
    assert Variety.of(Sampling()) == Variety()


def test_every_field_of_a_recipe_reaches_it() -> None:
    asked = {"cfg_interval": (0.3, 5), "apg": {"parallel": 0}, "cads": {"noise": 0.1}}
    variety = Variety.of(Sampling.model_validate(asked))
    assert variety.interval == (0.3, 5)
    assert (variety.apg.parallel, variety.cads.noise) == (0, 0.1)
