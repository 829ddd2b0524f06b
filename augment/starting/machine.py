"""The machine: cores, memory and GPU, as far as the choice of a recipe asks for them."""

import os
from dataclasses import dataclass

import torch

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """Cores that this process may use, memory and the GPU's memory in GiB, 0 without a GPU."""

    cores: int
    memory: float
    gpu: float

    def __str__(self) -> str:
        gpu = f"a GPU of {self.gpu:.0f} GiB" if self.gpu else "no GPU"
        return f"{self.cores} cores, {self.memory:.0f} GiB of memory, {gpu}"


def this_machine() -> Machine:
    """The machine that this process runs on."""
    able = getattr(os, "sched_getaffinity", None)
    cores = len(able(0)) if able else os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    gpu = torch.cuda.get_device_properties(0).total_memory / GIB if torch.cuda.is_available() else 0
    return Machine(cores, memory, gpu)
