"""The checkpoint of a training that takes long: one safetensors file, gone when it is done."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from didgen.manifests.files import clear, write_bytes

CHECKPOINT_NAME = "checkpoint.safetensors"

EVERY = 300.0
"""Seconds between two checkpoints: a training of a few minutes writes none."""


class Checkpoint:
    """Where the state of a training lies, and what the training was asked for, by fingerprint."""

    def __init__(self, folder: Path, fingerprint: str, every: float = EVERY) -> None:
        self.path, self.fingerprint, self.every = folder / CHECKPOINT_NAME, fingerprint, every
        self.last = perf_counter()

    def read(self) -> tuple[dict[str, Tensor], str] | None:
        """The tensors and facts of the state; None where there is none of this very training."""
        try:
            with safe_open(self.path, "pt") as file:
                said = file.metadata() or {}
                if said.get("fingerprint") != self.fingerprint:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}, said["facts"]  # noqa: SIM118
        except (OSError, SafetensorError, KeyError):
            return None

    def write_if_due(
        self, tensors: Callable[[], dict[str, Tensor]], facts: Callable[[], str]
    ) -> None:
        """Write the state if the last time is long enough ago."""
        if perf_counter() - self.last < self.every:
            return
        # Clones, because safetensors takes no tensor that a network has under two names.
        state = {name: part.detach().cpu().contiguous().clone() for name, part in tensors().items()}
        said = {"fingerprint": self.fingerprint, "facts": facts()}
        write_bytes(self.path, save(state, said))
        self.last = perf_counter()

    def remove(self) -> None:
        """Remove it, and what a killed write left of it."""
        clear(self.path)
