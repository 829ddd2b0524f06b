"""Checkpoints of a training loop: everything to go on from, as safetensors in one folder a step.

Notable choices:
- Only what trains is kept: a frozen model is loaded again from where it came from, and a
  checkpoint of adapters is as small as they are.
- Nothing is pickled: AdamW's state is tensors and goes into safetensors like the weights.
- There is no sampler or random state to save, because training draws none (`dataset.draws`).
- A folder appears under its final name only when it is whole; the two newest are kept.
- Weights alone are enough to go on from, in half precision too: what is sent along is then an
  eighth as large. At the end of a cycle, where the rate is 0, little is lost with the rest.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from didgen.augment.tensor_files import load_tensors, read_tensors, written

PREFIX = "step-"

KEPT = 2


def save_checkpoint(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None,
    optimizer: Optimizer,
    scaler: GradScaler | None = None,
) -> Path:
    """Write `folder/step-NNNNNNN` and drop all but the newest two."""
    final = folder / f"{PREFIX}{step:07d}"
    temporary = final.with_name(final.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _save(weights, temporary / "weights.safetensors")
    if average is not None:
        _save(average, temporary / "average.safetensors")
    moments = {
        f"{parameter}.{name}": value
        for parameter, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    _save(moments, temporary / "optimizer.safetensors")
    if scaler is not None:
        # float64 holds every float32 scale and every count exactly.
        state = {name: torch.tensor(v).double() for name, v in scaler.state_dict().items()}
        _save(state, temporary / "scaler.safetensors")
    os.replace(temporary, final)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a folder, oldest first."""
    found = folder.glob(f"{PREFIX}*") if folder.exists() else ()
    return sorted(path for path in found if path.suffix != ".tmp")


@torch.no_grad()
def load_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None,
    optimizer: Optimizer,
    scaler: GradScaler | None = None,
) -> int:
    """Load the newest checkpoint into the given tensors and objects; returns its step, 0 for none.

    Where it was thinned to its weights, the average begins as these, and the moments anew.
    Raises DidgenError where a file is damaged, or its tensors have other names or shapes.
    """
    found = checkpoints(folder)
    if not found:
        return 0
    newest = found[-1]
    load_tensors(newest / "weights.safetensors", weights)
    if average is not None:
        kept = newest / "average.safetensors"
        if kept.exists():
            load_tensors(kept, average)
        else:
            # Of nets that take turns, only some may have an average.
            for name, value in average.items():
                value.copy_(weights[name])
    if not (newest / "optimizer.safetensors").exists():
        return _step(newest)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in read_tensors(newest / "optimizer.safetensors").items():
        number, name = key.split(".", 1)
        like = parameters[int(number)]
        if value.shape == like.shape:
            # In the order of its parameter's memory, or the arithmetic might round otherwise.
            value = torch.empty_like(like).copy_(value)
        states.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    # What was trained in another number format has no scale.
    if scaler is not None and (newest / "scaler.safetensors").exists():
        state = read_tensors(newest / "scaler.safetensors")
        kinds = {name: type(value) for name, value in scaler.state_dict().items()}
        scaler.load_state_dict({name: kinds[name](v.item()) for name, v in state.items()})
    return _step(newest)


def _step(checkpoint: Path) -> int:
    """The number of steps that a checkpoint was made after."""
    return int(checkpoint.name.removeprefix(PREFIX))


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors and flush them to disk."""
    with written(path):
        save_file({n: value.detach().cpu().contiguous() for n, value in tensors.items()}, path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
