"""Fixtures of the method: a source of drawn lesions, and a tiny model that knows its captions."""

from tests.fixtures.captions import bare
from tests.fixtures.environment import fresh_accelerator, quick_workers
from tests.fixtures.finetuned import finetuned, quick_recipe
from tests.fixtures.jobs import finished, job
from tests.fixtures.lesions import manifest, source
from tests.fixtures.tiny_model import built, disc, model, perceptual, sampler, shape
from tests.fixtures.tiny_xl import xl, xl_model

__all__ = ["bare", "finetuned", "finished", "job", "manifest", "quick_recipe", "source"]
__all__ += [
    "built",
    "disc",
    "fresh_accelerator",
    "model",
    "perceptual",
    "quick_workers",
    "sampler",
    "shape",
    "xl",
    "xl_model",
]
