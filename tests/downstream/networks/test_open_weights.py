"""Tests of published weights: as safetensors they are what they were in their networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.functional.image import lpips as torchmetrics_lpips
from torchvision.models import alexnet
from torchvision.transforms.functional import to_tensor
from typer.testing import CliRunner

from didgen.cli import app
from didgen.downstream.commands import WEIGHTS
from didgen.downstream.metrics.lpips import load_lpips
from didgen.downstream.networks.open_weights import LITE0, OPEN, lpips, write_weights
from didgen.downstream.quality.extractors import find_extractor
from didgen.manifests.errors import DidgenError

MISSILE = 657
"""ImageNet's class of the photograph below."""


def test_written_weights_know_a_rocket_and_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["weights", "lite0"])
    assert result.exit_code == 0, result.output
    out = tmp_path / "weights" / "lite0.safetensors"
    model = timm.create_model(LITE0, checkpoint_path=str(out)).eval()
    photograph = Image.fromarray(skimage.data.rocket()).resize((224, 224))
    with torch.no_grad():
        ranking = model((to_tensor(photograph) - 0.5)[None] / 0.5)[0].argsort(descending=True)
    assert MISSILE in ranking[:3]
    written = out.stat().st_mtime_ns
    assert "there already" in CliRunner().invoke(app, ["weights", "lite0"]).output
    assert out.stat().st_mtime_ns == written


def test_other_files_and_names_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "alexnet-owt-7be5be79.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    with pytest.raises(DidgenError, match="the published file of lpips one that begins with 7be5b"):
        write_weights("lpips", tmp_path / "lpips.safetensors", other)
    with pytest.raises(DidgenError, match="the nearest name is lite0"):
        write_weights("lite", tmp_path / "lite.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == [other.name]
    assert list(OPEN) == WEIGHTS


def test_a_file_that_is_no_tensors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"weights": Path("of another class")}, file)
    monkeypatch.setattr("didgen.downstream.networks.open_weights.sha256_of", lambda _: "6726825d")
    with pytest.raises(DidgenError, match=r"weights.pth cannot be read .*; fetch it again"):
        write_weights("inception", tmp_path / "inception.safetensors", file)


def test_lpips_has_its_backbone_and_its_heads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: Any = alexnet()
    file = tmp_path / "lpips.safetensors"
    save_file({name: part.clone() for name, part in lpips(network.state_dict()).items()}, file)
    loaded: Any = load_lpips(file)
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
    state: dict[str, torch.Tensor] = {}
    # Its constructor takes nothing but a file; this one is of its own random start.
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: state)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        random = FeatureExtractorInceptionV3("random", ["2048"], "none")
    published = {name: part.clone() for name, part in random.state_dict().items()}
    torch.save(published, tmp_path / "inception.pth")
    oracle = FeatureExtractorInceptionV3("oracle", ["2048"], str(tmp_path / "inception.pth"))
    file = tmp_path / "inception.safetensors"
    save_file(OPEN["inception"].converted(published), file)
    assert load_file(file).keys() == published.keys()
    extractor = find_extractor("inception", str(file))
    pixels = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8)
    with torch.inference_mode():
        (features,) = oracle(pixels)
    assert (extractor.dimension, extractor.side) == (2048, 299)
    assert np.allclose(extractor(pixels), features.numpy(), rtol=1e-4, atol=1e-5)
    earlier = find_extractor("inception/192", str(file))
    assert earlier.dimension == 192 and earlier.sha256 == extractor.sha256
