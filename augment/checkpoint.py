"""Checkpoints of a training loop: everything to go on from, as safetensors in one folder a step.

Notable choices:
- Nothing is pickled: AdamW's state is tensors and goes into safetensors like the weights.
- There is no sampler or random state to save, because training draws none (`augment.dataset`).
- A folder appears under its final name only when it is whole; the two newest are kept.
"""

import os
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

PREFIX = "step-"
KEPT = 2


def save_checkpoint(
    folder: Path, step: int, module: nn.Module, average: nn.Module | None, optimizer: Optimizer
) -> Path:
    """Write `folder/step-NNNNNNN` and drop all but the newest two."""
    final = folder / f"{PREFIX}{step:07d}"
    temporary = final.with_name(final.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _save(module.state_dict(), temporary / "weights.safetensors")
    if average is not None:
        _save(average.state_dict(), temporary / "average.safetensors")
    moments = {
        f"{parameter}.{name}": value
        for parameter, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    _save(moments, temporary / "optimizer.safetensors")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a folder, oldest first."""
    found = folder.glob(f"{PREFIX}*") if folder.exists() else ()
    return sorted(path for path in found if path.suffix != ".tmp")


def load_checkpoint(
    folder: Path, module: nn.Module, average: nn.Module | None, optimizer: Optimizer
) -> int:
    """Load the newest checkpoint into the given objects; returns its step, 0 without any."""
    found = checkpoints(folder)
    if not found:
        return 0
    newest = found[-1]
    module.load_state_dict(load_file(newest / "weights.safetensors"))
    if average is not None:
        average.load_state_dict(load_file(newest / "average.safetensors"))
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(newest / "optimizer.safetensors").items():
        parameter, name = key.split(".", 1)
        states.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return int(newest.name.removeprefix(PREFIX))


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors and flush them to disk."""
    # Tied weights would be refused; a copy of each is cheap beside the optimizer's state.
    save_file(
        {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, path
    )
    with open(path, "rb") as file:
        os.fsync(file.fileno())
