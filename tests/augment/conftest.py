"""Fixtures of the method: a source of drawn lesions, and a tiny model that knows its captions."""

import multiprocessing

import pytest

from tests.fixtures.captions import bare
from tests.fixtures.finetuned import finetuned, quick_recipe
from tests.fixtures.jobs import finished, job
from tests.fixtures.lesions import manifest, source
from tests.fixtures.tiny_model import built, disc, model, perceptual, sampler, shape

__all__ = ["bare", "finetuned", "finished", "job", "manifest", "quick_recipe", "source"]
__all__ += ["built", "disc", "model", "perceptual", "sampler", "shape"]


@pytest.fixture(scope="session", autouse=True)
def method_environment(no_hub: None) -> None:
    """Loader workers that start in no time."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["didgen.augment.finetuning.dataset"]
    )


@pytest.fixture(autouse=True)
def each_test(accelerate_state: None) -> None:
    """Every test may start an accelerator."""
