"""Tests of costs: they are those of the pages that they are taken from, and go with the work."""

import shutil
from pathlib import Path

import pytest

from didgen.augment.models.cost import (
    A100_LATENTS,
    A100_WEIGHTS,
    Cost,
    Network,
    bytes_in_words,
    caption_cost,
    check_room,
)
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.models import MINI

SD = Network(int(A100_WEIGHTS), A100_LATENTS)


def test_a_million_pairs_cost_what_their_page_says() -> None:
    """389 GPU hours at 50 steps, 156 at 20, and 95 GB: docs/results/million-pairs.md."""
    cost = SD.drawing(0, 1_000_000, 50)
    assert cost.gpu_hours == pytest.approx(389, rel=0.01)
    assert SD.drawing(0, 1_000_000, 20).gpu_hours == pytest.approx(156, rel=0.02)
    assert cost.bytes == pytest.approx(95e9 + 2e9)


def test_weights_are_those_of_the_network() -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(str(MINI), subfolder="unet")
    assert Network.of(MINI, 32).weights == sum(one.numel() for one in unet.parameters())


def test_a_training_goes_with_its_steps_and_images() -> None:
    once, twice = SD.training(100, 4, 3), SD.training(200, 8, 3)
    assert twice.gpu_hours == pytest.approx(4 * once.gpu_hours)
    assert twice.bytes == once.bytes == pytest.approx(3 * 4 * A100_WEIGHTS)


def test_figures_are_said_as_people_say_them() -> None:
    assert Cost(389.2, 1e3).in_words() == (
        "Estimated from docs/results/million-pairs.md: 389.2 hours on one A100, and 1.0 kB."
    )
    # 8504 took 236 s on 2 cores.
    assert caption_cost(8504, 2).endswith("speed.md: 4 minutes on 2 cores.")
    assert "about a minute at most" in caption_cost(10, 2)
    assert [bytes_in_words(count) for count in (1500, 3.4e6, 97e9, 2e12)] == [
        "1.5 kB",
        "3.4 MB",
        "97.0 GB",
        "2,000.0 GB",
    ]


def test_a_drive_without_room_is_named(tmp_path: Path) -> None:
    check_room(None, Cost(1, 1e30))
    check_room(tmp_path / "run", Cost(1, 1))
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(DidgenError, match=r"deep/run would take about .* GB, and its drive has"):
        check_room(tmp_path / "deep" / "run", Cost(1, 2.0 * free + 1e12))
