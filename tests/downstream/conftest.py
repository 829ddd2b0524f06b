"""Fixtures of the benchmarks: images in memory, and a recipe that takes seconds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from didgen.downstream.benchmark.recipe import ClassifyRecipe, SegmentRecipe
from didgen.downstream.data.images import Images


@pytest.fixture(autouse=True)
def each_test(no_hub: None, accelerate_state: None) -> None:
    """Every test may start an accelerator, and reaches no hub."""


@pytest.fixture
def images() -> Images:
    """Twelve images of smooth noise, 32 px, of three classes; the last two show one lesion."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (12, 3, 16, 16)))
    pixels = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 255)
    return Images(
        tuple(f"image-{number}" for number in range(12)),
        tuple(f"lesion-{min(number, 10)}" for number in range(12)),
        pixels.to(torch.uint8),
        np.array([0] * 6 + [1] * 4 + [2] * 2),
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


GUIDES = ("ISIC_0000000", "drawn", "ISIC_0000013", "ISIC_0000024")
"""Layouts of the pairs: masks of training images, and a shape."""


@pytest.fixture(scope="session")
def guided_run(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """A run whose pairs are guided by training masks of the source, and by a drawn layout."""
    return make_run(tmp_path_factory.mktemp("runs") / "guided", layouts=GUIDES)


@pytest.fixture(scope="session")
def segment_recipe(source: Path, guided_run: Path) -> Callable[..., SegmentRecipe]:
    """A recipe that takes seconds: two small networks, 8 real pairs and all, every arm."""

    def make(**fields: object) -> SegmentRecipe:
        small, wide = ({"channels": [n, 2 * n], "strides": [2]} for n in (4, 8))
        given = {
            "source": source,
            "run": guided_run,
            "networks": [
                {"name": "monai.UNet", "called": "unet", "weights": "none", "arguments": small},
                {"name": "monai.UNet", "called": "wide", "weights": "none", "arguments": wide},
            ],
            "real": [8, None],
            "seeds": [0, 1],
            "image_size": 32,
            "batch_size": 4,
            "epochs": 1,
            "learning_rate": 1e-2,
            "mixed_precision": "no",
            "trackers": [],
        }
        return SegmentRecipe.model_validate(given | fields)

    return make
