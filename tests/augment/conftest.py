"""Fixtures of the method: a tiny model with random weights and a tiny source of drawn lesions."""

import hashlib
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

from didgen.augment.diffusion.autoencoder import start_as_area_average
from didgen.augment.diffusion.model_folder import save_pipeline
from didgen.augment.diffusion.pipeline import LesionPairPipeline
from didgen.augment.diffusion.small_model import build_pipeline
from didgen.manifests.recipes.small_model import AutoencoderStage, Build, Perceptual
from didgen.manifests.sources.records import CLASSES, SourceHeader, SourceManifest, SourceRecord

SIZE = 256
"""Side of the tiny source's images: the smallest at which 32x32 self-attention exists."""


@pytest.fixture(scope="session", autouse=True)
def method_environment(no_hub: None) -> None:
    """Loader workers that start in no time."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["didgen.augment.finetuning.dataset"]
    )


@pytest.fixture(autouse=True)
def each_test(accelerate_state: None) -> None:
    """Every test may start an accelerator."""


@pytest.fixture(scope="session")
def shape() -> Build:
    """The smallest model with cross-attention at 16x16 and self-attention at 32x32."""
    autoencoder = AutoencoderStage(
        channels=8,
        encoder_blocks=(0, 0, 0, 1),
        decoder_blocks=(1, 0, 0, 0),
        crop=64,
        steps=3,
        batch_size=2,
    )
    return Build(
        autoencoder=autoencoder,
        unet_channels=(16, 32, 32),
        head_channels=8,
        text_width=32,
        text_layers=1,
        text_heads=2,
        vocabulary=600,
    )


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> SourceManifest:
    """A dozen drawn lesions on skin, written with masks, labels and captions: 9, 1 and 2."""
    root = tmp_path_factory.mktemp("source")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    records = []
    for number in range(12):
        rng = np.random.default_rng(number)
        key, label = f"drawn_{number:02d}", CLASSES[number % len(CLASSES)]
        row, column = rng.integers(96, 160, 2)
        height, width = rng.integers(30, 80, 2)
        mask = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1
        image = np.where(mask[..., None], (110, 70, 50), (220, 180, 160))
        image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{key}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{key}.png")
        record = SourceRecord(
            key=key,
            image=f"images/{key}.png",
            width=SIZE,
            height=SIZE,
            sha256=hashlib.sha256((root / "images" / f"{key}.png").read_bytes()).hexdigest(),
            mask=f"masks/{key}.png",
            label=label,
            lesion_id=key,
            split="train" if number < 9 else "val" if number == 9 else "test",
            source="drawn",
            licence="CC0-1.0",
            caption=f"a brown lesion number {number}, light skin.",
        )
        records.append(record)
    header = SourceHeader(
        importer="folder",
        didgen_version="0",
        root=str(root),
        classes=CLASSES,
        seed=0,
        fractions=(0.6, 0.2, 0.2),
    )
    whole = SourceManifest(header, tuple(records))
    whole.write(root)
    return whole


@pytest.fixture(scope="session")
def source(manifest: SourceManifest) -> Path:
    """The folder of the tiny source manifest."""
    return Path(manifest.header.root)


@pytest.fixture(scope="session")
def built(shape: Build, manifest: SourceManifest) -> StableDiffusionPipeline:
    """The tiny model; tests that change its weights build their own."""
    return build_pipeline(shape, [r.caption or "" for r in manifest.records], SIZE, seed=0)


@pytest.fixture(scope="session")
def model(shape: Build, manifest: SourceManifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model whose decoder shows the latents, with its captions beside it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipeline = build_pipeline(shape, [r.caption or "" for r in manifest.records], SIZE, seed=0)
    start_as_area_average(pipeline.vae, torch.rand(4, 3, 32, 32))
    save_pipeline(pipeline, folder, ((r.label, r.caption) for r in manifest.records))
    return folder


@pytest.fixture(scope="session")
def sampler(shape: Build, manifest: SourceManifest) -> LesionPairPipeline:
    """The tiny model as a sampler, with cross-attention sharp enough to be steered."""
    plain = build_pipeline(shape, [r.caption or "" for r in manifest.records], SIZE, seed=0)
    with torch.no_grad():
        for name, parameter in plain.unet.named_parameters():
            if name.endswith(("to_q.weight", "to_k.weight")):
                parameter.mul_(3)
    return LesionPairPipeline(**plain.components, requires_safety_checker=False)


@pytest.fixture(scope="session")
def store() -> Iterator[str]:
    """The URL of an empty bucket of a real S3 server on this machine."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3", use_listings_cache=False).mkdir("didgen-tests")
        yield "s3://didgen-tests"
    server.stop()


@pytest.fixture(scope="session")
def perceptual(tmp_path_factory: pytest.TempPathFactory) -> Perceptual:
    """The first two stages of a small network with random weights, as a file."""
    torch.manual_seed(0)
    path, network = (
        tmp_path_factory.mktemp("weights") / "small.safetensors",
        "mobilenetv3_small_050",
    )
    save_file(timm.create_model(network, pretrained=False).state_dict(), path)
    return Perceptual(weights=path, network=network, stages=(0, 1))


@pytest.fixture(scope="session")
def disc() -> torch.Tensor:
    """A layout (1, 1, 256, 256): a disc left above the middle."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return ((rows - 110) ** 2 + (columns - 100) ** 2 <= 60**2).float()[None, None]
