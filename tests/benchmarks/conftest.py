"""Fixtures of the scripts that measure: a source of drawn lesions, and a tiny model."""

from tests.fixtures.lesions import manifest
from tests.fixtures.tiny_model import model, shape

__all__ = ["manifest", "model", "shape"]
