"""Tests of the choice of device: it is there, it works, and it says why."""

from pathlib import Path

import pytest
import torch

from augment.device import bf16_on_cpu, choose_device
from manifests.errors import DidgenError


def test_the_device_works_and_has_a_reason() -> None:
    device = choose_device()
    assert torch.ones(2, device=device.name).sum().item() == 2
    assert device.reason
    assert torch.ones(2, device=device.name, dtype=device.dtype).sum().item() == 2
    assert str(device).startswith(device.name)
    assert str(device).endswith(f", because {device.reason}")


def test_a_gpu_is_taken_where_there_is_one() -> None:
    if torch.cuda.is_available():
        assert choose_device().name == "cuda"
        assert choose_device().precision in ("bf16", "fp16")
    elif not torch.backends.mps.is_available():
        assert choose_device().name == "cpu"
        assert choose_device().precision == "no"


def test_fp16_on_a_cpu_is_refused() -> None:
    if choose_device().name == "cpu":
        with pytest.raises(DidgenError, match="set `mixed_precision` to bf16 or no"):
            choose_device("fp16")


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_recipe_has_the_last_word(precision: str) -> None:
    device = choose_device(precision)
    assert device.precision == precision
    assert device.name == choose_device().name
    assert f"the recipe asks for {precision}" in device.reason


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux lists a CPU's flags")
def test_a_cpu_trains_in_bf16_where_it_has_instructions_for_it() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert bf16_on_cpu() == bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})
    if choose_device().name == "cpu":
        assert choose_device().precision == "no"
        assert choose_device(training=True).precision == ("bf16" if bf16_on_cpu() else "no")
        assert choose_device("no", training=True).precision == "no"
        assert ("has no instructions" in choose_device("bf16").reason) != bf16_on_cpu()
