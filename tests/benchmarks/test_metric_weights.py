"""Tests of published weights: as safetensors they are what they were in their networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.functional.image import lpips as torchmetrics_lpips
from torchvision.models import alexnet
from typer.testing import CliRunner

from benchmarks import metric_weights
from didgen.downstream.metrics.lpips import load_lpips
from didgen.downstream.quality.extractors import find_extractor


def write(kind: str, out: Path, published: Path) -> None:
    command = [kind, str(out), "--from", str(published)]
    result = CliRunner().invoke(metric_weights.app, command)
    assert result.exit_code == 0, result.output
    assert "SHA-256" in result.output


def test_lpips_has_its_backbone_and_its_heads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Any = alexnet()
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    write("lpips", tmp_path / "new" / "lpips.safetensors", tmp_path / "alexnet.pth")
    loaded: Any = load_lpips(tmp_path / "new" / "lpips.safetensors")
    pixels = torch.rand((1, 3, 64, 64))
    with torch.no_grad():
        assert torch.equal(loaded.net(pixels)[-1], network.features[:12](pixels))
    folder = Path(torchmetrics_lpips.__file__).parent / "lpips_models"
    heads = torch.load(folder / "alex.pth", map_location="cpu", weights_only=True)
    state = loaded.state_dict()
    assert heads and all(torch.equal(state[name], head) for name, head in heads.items())


@pytest.mark.slow
def test_inception_gives_torch_fidelitys_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    state: dict[str, Any] = {}
    # Its constructor takes nothing but a file; this one is of its own random start.
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: state)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        random = FeatureExtractorInceptionV3("random", ["2048"], "none")
    torch.save(random.state_dict(), tmp_path / "inception.pth")
    oracle = FeatureExtractorInceptionV3("oracle", ["2048"], str(tmp_path / "inception.pth"))
    write("inception", tmp_path / "inception.safetensors", tmp_path / "inception.pth")
    extractor = find_extractor("inception", str(tmp_path / "inception.safetensors"))
    pixels = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8)
    with torch.inference_mode():
        (features,) = oracle(pixels)
    assert (extractor.dimension, extractor.side) == (2048, 299)
    assert np.allclose(extractor(pixels), features.numpy(), rtol=1e-4, atol=1e-5)
    earlier = find_extractor("inception/192", str(tmp_path / "inception.safetensors"))
    assert earlier.dimension == 192 and earlier.sha256 == extractor.sha256
