"""Tests of the choice of device: it is there, it works, and it says why."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from didgen.augment.device import bf16_on_cpu, choose_device
from didgen.manifests.errors import DidgenError


def test_the_device_works_and_has_a_reason() -> None:
    device = choose_device()
    assert torch.ones(2, device=device.name).sum().item() == 2
    assert device.reason
    assert torch.ones(2, device=device.name, dtype=device.dtype).sum().item() == 2
    assert str(device).startswith(device.name)
    assert str(device).endswith(f", because {device.reason}")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make this machine seem to have a GPU or none; `bf16` is what its chip computes in."""

    def seem(gpu: str | None, bf16: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu == "cuda")
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A100")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: gpu == "mps")
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})

    return seem


@pytest.mark.parametrize(
    ("gpu", "bf16", "drawing", "training", "reason"),
    [
        ("cuda", True, "bf16", "bf16", "NVIDIA A100 is there"),
        ("cuda", False, "fp16", "fp16", "NVIDIA A100 is there"),
        ("mps", True, "no", "no", "Apple's GPU is there"),
        (None, True, "no", "bf16", "there is no GPU"),
        (None, False, "no", "no", "there is no GPU"),
    ],
)
def test_each_machine_computes_in_what_it_is_fast_in(
    machine: Callable[..., None],
    gpu: str | None,
    bf16: bool,
    drawing: str,
    training: str,
    reason: str,
) -> None:
    machine(gpu, bf16)
    assert choose_device().name == choose_device(training=True).name == (gpu or "cpu")
    assert choose_device().precision == drawing
    assert choose_device(training=True).precision == training
    assert choose_device().reason.startswith(reason)
    told = "with instructions for bf16" in choose_device(training=True).reason
    assert told == (gpu is None and bf16)


def test_fp16_on_a_cpu_is_refused(machine: Callable[..., None]) -> None:
    machine(None)
    with pytest.raises(DidgenError, match="set `mixed_precision` to bf16 or no"):
        choose_device("fp16")
    machine("cuda")
    assert choose_device("fp16").precision == "fp16"


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("training", [False, True])
def test_the_recipe_has_the_last_word(precision: str, training: bool) -> None:
    device = choose_device(precision, training=training)
    assert device.precision == precision
    assert device.name == choose_device().name
    assert f"the recipe asks for {precision}" in device.reason


@pytest.mark.parametrize("able", [False, True])
def test_bf16_on_a_cpu_without_instructions_is_told(
    machine: Callable[..., None], able: bool
) -> None:
    machine(None, able)
    assert ("has no instructions" in choose_device("bf16").reason) != able
    assert "has no instructions" not in choose_device("no").reason


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux lists a CPU's flags")
def test_a_cpus_instructions_are_those_that_linux_lists() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert bf16_on_cpu() == bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})
