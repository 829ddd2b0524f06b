"""Tests of tensor files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from didgen.augment.tensor_files import written
from didgen.manifests.errors import DidgenError


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "weights.safetensors"
    with (
        pytest.raises(DidgenError, match=r"weights.safetensors could not be written \("),
        written(path),
    ):
        save_file({"a": torch.zeros(1)}, path)
