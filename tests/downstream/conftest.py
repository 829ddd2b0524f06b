"""Fixtures of the benchmarks: images in memory, and recipes that take seconds."""

import pytest

from tests.fixtures.benchmarks import guided_run, images, recipe, segment_recipe
from tests.fixtures.study import own_study, study

__all__ = ["guided_run", "images", "own_study", "recipe", "segment_recipe", "study"]


@pytest.fixture(autouse=True)
def each_test(no_hub: None, accelerate_state: None) -> None:
    """Every test may start an accelerator, and reaches no hub."""
