"""Fixtures of the benchmarks: no hub, a fresh accelerate, and images in memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from downstream.data import Images
from downstream.recipe import ClassifyRecipe


@pytest.fixture(scope="session", autouse=True)
def no_hub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(autouse=True)
def accelerate_state() -> None:
    """Accelerate keeps its state for a process; each test begins like one."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def images() -> Images:
    """Twelve images of smooth noise, 32 px, of three classes; the last two show one lesion."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (12, 3, 16, 16)))
    pixels = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 255)
    return Images(
        tuple(f"image-{number}" for number in range(12)),
        tuple(f"lesion-{min(number, 10)}" for number in range(12)),
        np.array([0] * 6 + [1] * 4 + [2] * 2),
        pixels.to(torch.uint8),
    )


@pytest.fixture(scope="session")
def recipe(source: Path, run: Path) -> Callable[..., ClassifyRecipe]:
    """A recipe that takes seconds: two small networks on the source and the run of noise."""

    def make(**fields: object) -> ClassifyRecipe:
        given = {
            "source": source,
            "run": run,
            "networks": [
                {"name": "test_efficientnet", "called": "conv", "weights": "none"},
                {"name": "test_vit", "weights": "none", "arguments": {"img_size": 32}},
            ],
            "seeds": [0, 1],
            "image_size": 32,
            "batch_size": 4,
            "epochs": 1,
            "learning_rate": 1e-3,
            "mixed_precision": "no",
        }
        return ClassifyRecipe.model_validate(given | fields)

    return make
