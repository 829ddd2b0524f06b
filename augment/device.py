"""Which device and number format a run uses, and why."""

import os
from dataclasses import dataclass

import torch

from manifests.errors import DidgenError


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

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"{self.name}, {kind}, because {self.reason}"


def choose_device(precision: str | None = None) -> Device:
    """The best device that is there; `precision` ("no", "bf16", "fp16") if the recipe says it."""
    if torch.cuda.is_available():
        name, found = "cuda", torch.cuda.get_device_name()
        # Older cards only emulate bf16, slowly.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        best = "bf16" if native else "fp16"
    elif torch.backends.mps.is_available():
        name, found, best = "mps", "Apple's GPU", "no"
    else:
        name, found, best = "cpu", f"no GPU, {os.cpu_count()} cores", "no"
    reason = f"{found} is there" if name != "cpu" else f"there is {found}"
    if precision is not None:
        if name == "cpu" and precision == "fp16":
            raise DidgenError(
                "A CPU has no fp16 to draw or train in; set `mixed_precision` to bf16 or no."
            )
        return Device(name, precision, f"{reason} and the recipe asks for {precision}")
    return Device(name, best, reason)


def exact(device: torch.device) -> torch.autocast:
    """No autocast for a while: maps and losses are float32, whatever the model computes in."""
    return torch.autocast(device.type, enabled=False)
