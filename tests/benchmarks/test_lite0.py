"""Tests of the packaged weights: a network that has them knows a rocket."""

from pathlib import Path

import skimage.data
import timm
import torch
import typer
from PIL import Image
from torchvision.transforms.functional import to_tensor
from typer.testing import CliRunner

from benchmarks import lite0

MISSILE = 657
"""ImageNet's class of the photograph below."""


def test_written_weights_know_a_rocket(tmp_path: Path) -> None:
    out = tmp_path / "new" / "lite0.safetensors"
    app = typer.Typer()
    app.command()(lite0.main)
    result = CliRunner().invoke(app, [str(out)])
    assert result.exit_code == 0, result.output
    model = timm.create_model(lite0.MODEL, checkpoint_path=str(out)).eval()
    photograph = Image.fromarray(skimage.data.rocket()).resize((224, 224))
    with torch.no_grad():
        ranking = model((to_tensor(photograph) - 0.5)[None] / 0.5)[0].argsort(descending=True)
    assert MISSILE in ranking[:3]
