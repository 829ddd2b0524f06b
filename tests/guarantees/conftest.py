"""Fixtures of the guarantees: the tiny model of the method, and no hub."""

import pytest

from tests.fixtures.jobs import finished, job
from tests.fixtures.lesions import manifest
from tests.fixtures.tiny_model import model, shape

__all__ = ["finished", "job", "manifest", "model", "shape"]


@pytest.fixture(autouse=True)
def each_test(no_hub: None, accelerate_state: None) -> None:
    """Every test may start an accelerator, and reaches no hub."""
