"""Tests of LPIPS: what it must say of any weights, and the faults of a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchmetrics.functional.image.lpips import _lpips_update

from didgen.downstream.metrics.lpips import build_lpips, load_lpips, lpips
from didgen.manifests.errors import DidgenError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lpips.safetensors"
    # Heads are never negative in LPIPS, so that a distance is not either.
    state = {
        name: part.abs() if name.startswith("lin") else part.clone()
        for name, part in build_lpips().state_dict().items()
    }
    save_file(state, path)
    return path


def test_it_is_torchmetrics_own_and_0_for_the_same_image(weights: Path) -> None:
    network = load_lpips(weights)
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8, generator=generator)
    found = lpips(network, one, other, batch=2)
    oracle = _lpips_update(one / 255, other / 255, network, normalize=True).flatten()
    assert found == pytest.approx(oracle.double().numpy(), rel=1e-5)
    assert (found > 0).all()
    assert lpips(network, one, one) == pytest.approx(np.zeros(3), abs=1e-9)


def test_broken_or_foreign_weights_are_one_sentence(weights: Path, tmp_path: Path) -> None:
    torn, foreign = tmp_path / "torn.safetensors", tmp_path / "foreign.safetensors"
    torn.write_bytes(weights.read_bytes()[:900])
    save_file({"weight": torch.zeros(3)}, foreign)
    for path in (torn, foreign, tmp_path / "missing.safetensors"):
        with pytest.raises(DidgenError, match=f"{path} holds no weights of LPIPS") as caught:
            load_lpips(path)
        assert "\n" not in str(caught.value)
