"""A source and a run of soft blobs, some of whose samples are copies of training images."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manifests.contamination import TrainedOn
from manifests.ownership import start_run
from manifests.records import SourceHeader, SourceManifest, SourceRecord
from manifests.runs import finish_run
from manifests.shards import Config, Sample, write_shard

CLASSES = ["MEL", "NV"]
COPIED = 4
"""Every so manieth sample is a mirrored training image."""


def encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def smooth(number: int, side: int = 48) -> np.ndarray:
    """An image of a few soft blobs, which follow from its number; (side, side, 3)."""
    coarse = np.random.default_rng(number).integers(30, 226, (5, 5, 3), np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def square_mask() -> bytes:
    mask = np.zeros((48, 48), np.uint8)
    mask[12:36, 12:36] = 255
    return encoded(mask, "PNG")


def write_source(folder: Path) -> Path:
    """120 images of 60 lesions, of two classes: of every twenty, 12 train, 4 val, 4 test."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    records = []
    for number in range(120):
        key = f"ISIC_{number:07d}"
        data = encoded(smooth(number), "PNG")
        (photos / f"{key}.png").write_bytes(data)
        (photos / f"{key}_mask.png").write_bytes(square_mask())
        records.append(
            SourceRecord(
                key=key,
                image=f"{key}.png",
                width=48,
                height=48,
                sha256=hashlib.sha256(data).hexdigest(),
                mask=f"{key}_mask.png",
                label=CLASSES[number // 2 % 2],
                lesion_id=f"lesion {number // 2}",
                split=(*["train"] * 6, *["val"] * 2, *["test"] * 2)[number % 20 // 2],  # type: ignore[arg-type]
                source="photos",
                licence="CC0-1.0",
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
    SourceManifest(header, tuple(records)).write(folder / "source")
    return folder / "source"


def original(number: int) -> int:
    """The training image that a sample is made after."""
    return number // 12 * 20 + number % 12


def make_sample(config: Config, number: int) -> Sample:
    """A sample; the layouts of pairs are a training image's and drawn ones in turn."""
    key, label = f"{config}-{number:06d}", CLASSES[number % 2]
    copied = number % COPIED == 0
    picture = smooth(original(number))[:, ::-1] if copied else smooth(1000 + number)
    layout = "" if config == "images" else "drawn"
    if config == "pairs" and number % 2 == 0:
        layout = f"ISIC_{original(number):07d}"
    members = {
        "jpg": encoded(picture, "JPEG", quality=95),
        "json": json.dumps({"key": key, "prompt": "a lesion", "seed": number}).encode(),
    }
    if config == "images":
        members["cls"] = str(CLASSES.index(label)).encode()
    else:
        members["mask.png"] = square_mask()
    return Sample(key, members, {"label": label, "layout": layout, "prompt": "a lesion"})


def write_run(folder: Path, count: int = 48, source: Path | None = None) -> Path:
    """Images and pairs, two shards each; every fourth sample is a mirrored training image.

    With a source, its model was trained on the source's training images and on one more.
    """
    trained_on = TrainedOn()
    if source is not None:
        training = SourceManifest.read(source).select(split="train")
        other = training[0].model_copy(update={"key": "x", "lesion_id": "x", "sha256": "0" * 64})
        trained_on = TrainedOn.of([*training, other])
    start_run(folder, fingerprint="f00d", recipe={"kind": "augment", "model": "mini"})
    configs: tuple[Config, ...] = ("images", "pairs")
    for config in configs:
        samples = [make_sample(config, number) for number in range(count)]
        for index, part in enumerate((samples[: count // 2], samples[count // 2 :])):
            write_shard(folder, config, index, part, fingerprint="f00d", versions={})
    finish_run(
        folder,
        {"images": 2, "pairs": 2},
        decisions={},
        versions={},
        classes=list(CLASSES),
        trained_on=trained_on,
    )
    return folder
