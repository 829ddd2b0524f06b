"""Tensor files: safetensors written whole or not at all, and read back with a sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from didgen.manifests.errors import DidgenError, in_short


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Make a DidgenError of what safetensors raises where `path` cannot be written: no OSError."""
    try:
        yield
    except SafetensorError as error:
        raise DidgenError(
            f"{path} could not be written ({in_short(error)}); make room and run again to go on."
        ) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of a run; DidgenError where it is damaged."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DidgenError(
            f"{path} is damaged ({in_short(error)}); copy it again or, if it is of a checkpoint, "
            "delete the checkpoint's folder to go on from the one before."
        ) from None


@torch.no_grad()
def load_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copy a file's tensors into tensors of the same names and shapes.

    Raises DidgenError where the file is damaged, or has others.
    """
    found = read_tensors(path)
    shapes, expected = (
        {name: tuple(value.shape) for name, value in group.items()} for group in (found, tensors)
    )
    if shapes != expected:
        differ = min(set(shapes.items()) ^ set(expected.items()))
        raise DidgenError(
            f"{path} holds other tensors than the model trains, first {differ[0]}; put back the "
            "file that the run wrote."
        )
    for name, value in tensors.items():
        value.copy_(found[name])
