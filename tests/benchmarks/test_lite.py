import pytest
import skimage.data
import timm
import torch
import typer
from PIL import Image
from torchvision.transforms.functional import to_tensor
from typer.testing import CliRunner

from benchmarks import lite

MISSILE, PLATFORM = 657, 540
"""ImageNet's classes of the photograph below: the rocket, and what its launch pad looks like."""


@pytest.mark.parametrize("size", [0, 1])
def test_written_weights_know_a_rocket(tmp_path, size):
    out = tmp_path / "new" / "lite.safetensors"
    app = typer.Typer()
    app.command()(lite.main)
    result = CliRunner().invoke(app, [str(out), "--size", str(size)])
    assert result.exit_code == 0, result.output
    model = timm.create_model(lite.network(size), checkpoint_path=str(out)).eval()
    side = model.pretrained_cfg["input_size"][-1]
    photograph = Image.fromarray(skimage.data.rocket()).resize((side, side))
    with torch.no_grad():
        ranking = model((to_tensor(photograph) - 0.5)[None] / 0.5)[0].argsort(descending=True)
    assert ranking[0] == PLATFORM
    assert MISSILE in ranking[:5]
