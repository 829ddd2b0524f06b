"""Fixtures that more than one room needs: the real data; small runs and sources of noise."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.runs.claim import start_run
from didgen.manifests.runs.finish import finish_run
from didgen.manifests.shards.index import Ingredient
from didgen.manifests.shards.shard import Config, Failure, Sample, write_shard
from didgen.manifests.sources.records import SourceHeader, SourceManifest, SourceRecord

REPOSITORY = Path(__file__).parent.parent
CLASSES = ["MEL", "NV", "BCC"]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real ISIC 2018 data; where it is absent the test is skipped, in CI it fails."""
    folder = Path(os.environ.get("DIDGEN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "isic2018").is_dir():
        message = f"no ISIC 2018 data at {folder}; set DIDGEN_DATA to a folder that holds isic2018"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def no_hub() -> Iterator[None]:
    """No hub, whatever the machine reaches."""
    import huggingface_hub.constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture
def accelerate_state() -> None:
    """Accelerate keeps its state for a process; each test begins like one."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def noise(number: int, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def blob(number: int, height: int = 16, width: int = 24) -> np.ndarray:
    return np.where(noise(number, height, width)[..., 0] < 128, 255, 0).astype(np.uint8)


def make_sample(config: Config, number: int, label: str, layout: str) -> Sample:
    key = f"{config}-{number:06d}"
    record = {
        "key": key,
        "label": CLASSES.index(label),
        "class": label,
        "prompt": f"lesion {number}",
        "seed": 2**60 + number,
        "layout": layout,
        "scores": {"contrast": number / 7},
    }
    members = {"jpg": encoded(noise(number), "JPEG"), "json": json.dumps(record).encode()}
    if config == "images":
        members["cls"] = str(CLASSES.index(label)).encode()
    else:
        members["mask.png"] = encoded(blob(number), "PNG")
    row = {name: record[name] for name in ("prompt", "layout")} | {"label": label}
    return Sample(key, members, row)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Write a finished run of two shards a config: 10 images, MEL and BCC in turn, and 6 pairs."""

    def make(
        directory: Path,
        *,
        layouts: tuple[str, ...] = ("drawn",),
        classes: list[str] = CLASSES,
        labels: tuple[str, ...] = ("MEL", "BCC"),
        licence: str | None = "CC-BY-4.0",
        recipe: dict[str, Any] | None = None,
        trained_on: TrainedOn = TrainedOn(),  # noqa: B008 - immutable
    ) -> Path:
        recipe = {"kind": "augment", "model": "mini"} if recipe is None else recipe
        start_run(directory, fingerprint="f00d", recipe=recipe)
        for config, count in (("images", 10), ("pairs", 6)):
            samples = [
                make_sample(
                    config,  # type: ignore[arg-type]
                    number,
                    labels[number % len(labels)],
                    layouts[number % len(layouts)] if config == "pairs" else "",
                )
                for number in range(count)
            ]
            failed = Failure(f"{config}-failed", "near-blank image: 1.50")
            for index, part in enumerate(([*samples[:4], failed], samples[4:])):
                write_shard(
                    directory,
                    config,  # type: ignore[arg-type]
                    index,
                    part,
                    fingerprint="f00d",
                    versions={},
                )
        finish_run(
            directory,
            {"images": 2, "pairs": 2},
            decisions={"device": "cpu, because there is no GPU"},
            versions={},
            classes=classes,
            made_from=[Ingredient(kind="model", name="mini", licence=licence, sha256="0" * 64)],
            trained_on=trained_on,
        )
        return directory

    return make


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """One such run, to read only."""
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def make_source() -> Callable[..., Path]:
    """Write a source of 30 images with masks; of ten, 6 train, 2 val, 2 test; one has no label."""

    def make(directory: Path) -> Path:
        photos = directory / "photos"
        photos.mkdir(parents=True)
        records = []
        for number in range(30):
            key = f"ISIC_{number:07d}"
            turned = number == 3
            form = "PNG" if number == 4 else "JPEG"
            data = encoded(noise(100 + number), form, **({"exif": _turned()} if turned else {}))
            (photos / f"{key}.img").write_bytes(data)
            # A turned image is seen 16 wide, and its mask is as it is seen.
            height, width = (24, 16) if turned else (16, 24)
            mask = encoded(blob(200 + number, height, width), "PNG")
            (photos / f"{key}_mask.png").write_bytes(mask)
            records.append(
                SourceRecord(
                    key=key,
                    image=f"{key}.img",
                    width=width,
                    height=height,
                    sha256=hashlib.sha256(data).hexdigest(),
                    mask=f"{key}_mask.png",
                    label=None if number == 29 else CLASSES[number // 10],
                    lesion_id=f"lesion {number}",
                    split=(*["train"] * 6, *["val"] * 2, *["test"] * 2)[number % 10],
                    source="photos",
                    licence="CC-BY-NC-4.0" if number else "CC0-1.0",
                    caption="a caption" if number == 1 else None,
                )
            )
        header = SourceHeader(
            importer="folder",
            didgen_version="0.1.0",
            root=str(photos),
            classes=tuple(CLASSES),
            seed=42,
            fractions=(0.6, 0.2, 0.2),
        )
        SourceManifest(header, tuple(records)).write(directory / "source")
        return directory / "source"

    return make


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, make_source: Callable[..., Path]) -> Path:
    """One such source, to read only."""
    return make_source(tmp_path_factory.mktemp("sources"))


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()
