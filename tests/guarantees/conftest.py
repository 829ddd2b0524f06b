"""Fixtures of the guarantees: the tiny model of the method, and no hub."""

from tests.fixtures.demo import demo
from tests.fixtures.environment import fresh_accelerator
from tests.fixtures.jobs import finished, job
from tests.fixtures.lesions import manifest
from tests.fixtures.tiny_model import model, shape

__all__ = ["demo", "finished", "fresh_accelerator", "job", "manifest", "model", "shape"]
