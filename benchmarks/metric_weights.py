"""Weights of Inception and LPIPS as safetensors files, for `didgen quality`.

They are published as PyTorch files, which didgen itself never opens; this script reads their
tensors alone (`weights_only`), once. It downloads them where the network is reachable, or takes a
file that was downloaded elsewhere.

    python -m benchmarks.metric_weights inception weights/inception.safetensors
    python -m benchmarks.metric_weights lpips weights/lpips.safetensors
"""

import inspect
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError

import torch
import typer
from safetensors.torch import save
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torchmetrics.functional.image import lpips as torchmetrics_lpips
from torchvision.models import AlexNet_Weights

from didgen.downstream.metrics.lpips import build_lpips
from didgen.manifests.files import sha256_of, write_bytes

app = typer.Typer(no_args_is_help=True)
Out = Annotated[Path, typer.Argument(help="The file to write.")]
Downloaded = Annotated[
    Path | None, typer.Option("--from", help="The published file, downloaded elsewhere.")
]
Tensors = dict[str, torch.Tensor]


@app.command()
def inception(out: Out, downloaded: Downloaded = None) -> None:
    """The Inception network of the FID, as torch-fidelity publishes it."""
    _write(out, _published(URL_INCEPTION_V3, downloaded))


@app.command()
def lpips(out: Out, downloaded: Downloaded = None) -> None:
    """LPIPS on AlexNet: torchvision's backbone, and the heads that torchmetrics brings along."""
    backbone = _published(AlexNet_Weights.DEFAULT.url, downloaded)
    heads = Path(inspect.getfile(torchmetrics_lpips)).parent / "lpips_models" / "alex.pth"
    network: Any = build_lpips()
    network.load_state_dict(torch.load(heads, map_location="cpu", weights_only=True), strict=False)
    for part in network.net.children():
        # The layers keep the numbers that they have among AlexNet's features.
        layers = {name: backbone[f"features.{name}"] for name in part.state_dict()}
        part.load_state_dict(layers)
    _write(out, network.state_dict())


def _published(url: str, downloaded: Path | None) -> Tensors:
    if downloaded is not None:
        return torch.load(downloaded, map_location="cpu", weights_only=True)
    try:
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except (URLError, OSError) as error:
        raise typer.BadParameter(
            f"{url} cannot be reached ({error}); download it elsewhere and give the file",
            param_hint="--from",
        ) from None


def _write(out: Path, tensors: Tensors) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, save({name: part.clone() for name, part in tensors.items()}))
    print(f"{out}: {len(tensors)} tensors, SHA-256 {sha256_of(out)}")


if __name__ == "__main__":
    app()
