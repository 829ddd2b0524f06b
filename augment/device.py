"""Which device and number format a run uses, and why."""

import os
import resource
import sys
from dataclasses import dataclass

import torch

from didgen.manifests.errors import DidgenError


@dataclass(frozen=True)
class Device:
    """A device, the precision of its autocast, and the reason for both, for print and manifest."""

    name: str
    precision: str
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """What autocast computes in."""
        return {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def autocast(self) -> torch.autocast:
        """A context in which float32 weights compute in `dtype`; nothing where that is float32."""
        return torch.autocast(self.name, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"{self.name}, {kind}, because {self.reason}"


def choose_device(precision: str | None = None, *, training: bool = False) -> Device:
    """The best device that is there; `precision` ("no", "bf16", "fp16") if the recipe says it.

    A CPU with instructions for bf16 uses them unasked in training alone, where roundings average
    out: samples that no recipe wants in bf16 differ between CPUs in last bits only.
    """
    if torch.cuda.is_available():
        name, found = "cuda", torch.cuda.get_device_name()
        # Older cards only emulate bf16, slowly.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        best = "bf16" if native else "fp16"
    elif torch.backends.mps.is_available():
        name, found, best = "mps", "Apple's GPU", "no"
    else:
        name, found, best = "cpu", f"no GPU, {os.cpu_count()} cores", "no"
        if training and bf16_on_cpu():
            found, best = f"{found} with instructions for bf16", "bf16"
    reason = f"{found} is there" if name != "cpu" else f"there is {found}"
    if precision is not None:
        if name == "cpu" and precision == "fp16":
            raise DidgenError(
                "A CPU has no fp16 to draw or train in; set `mixed_precision` to bf16 or no."
            )
        reason += f" and the recipe asks for {precision}"
        if name == "cpu" and precision == "bf16" and not bf16_on_cpu():
            reason += ", for which this CPU has no instructions: float32 may be far faster"
        return Device(name, precision, reason)
    return Device(name, best, reason)


def peak_memory() -> int:
    """Most bytes so far: those that torch had on a GPU, else the process's largest resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def bf16_on_cpu() -> bool:
    """Whether the CPU multiplies in bf16. PyTorch takes bf16 on any, and with AVX2 alone a step of
    the recipe `mini` is 13 times as long as in float32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def exact(device: torch.device) -> torch.autocast:
    """No autocast for a while: maps and losses are float32, whatever the model computes in."""
    return torch.autocast(device.type, enabled=False)
