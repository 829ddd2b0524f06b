"""Tests of the images of benchmarks: what is read is what is there."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from didgen.downstream.data.images import Images, counts, load_real, load_synthetic, square
from didgen.manifests.errors import DidgenError
from didgen.manifests.runs.finish import read_whole_run
from didgen.manifests.runs.training_samples import SyntheticSample, training_samples
from didgen.manifests.shards.shard import iterate, shard_path
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.pictures import encoded


def taken_from(run: Path, source: Path) -> tuple[list[SyntheticSample], list[str]]:
    manifest, sidecars = read_whole_run(run)
    every = training_samples(
        run, manifest, "images", sidecars["images"], SourceManifest.read(source)
    )
    return list(every), manifest.classes


def test_a_square_is_the_middle_and_keeps_pixels_that_fit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    cut = square(encoded(pixels, "PNG"), Path("image.png"), 32)
    assert np.array_equal(cut.transpose(1, 2, 0), pixels[:, 8:40])
    assert square(encoded(pixels, "PNG"), Path("image.png"), 16).shape == (3, 16, 16)


def test_a_square_is_upright() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = square(encoded(pixels, "PNG", exif=exif), Path("image.png"), 32)
    assert np.array_equal(turned.transpose(1, 2, 0), pixels[::-1, ::-1])


def test_real_images_come_in_the_order_of_their_records(source: Path) -> None:
    manifest = SourceManifest.read(source)
    records = manifest.select(split="train", labelled=True)[::-1]
    classes = ("BCC", "MEL", "NV")
    images = load_real(manifest, records, classes, 32)
    assert images.keys == tuple(record.key for record in records)
    assert images.units == tuple(record.lesion_id for record in records)
    assert [classes[label] for label in images.labels] == [record.label for record in records]
    for record, pixels in zip(records, images.pixels, strict=True):
        path = manifest.image_path(record)
        assert np.array_equal(pixels.numpy(), square(path.read_bytes(), path, 32))
    assert counts(images, classes) == Counter(record.label for record in records)


def test_a_real_image_that_changed_is_refused(
    make_source: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = SourceManifest.read(make_source(tmp_path))
    record = manifest.records[0]
    manifest.image_path(record).write_bytes(b"other")
    with pytest.raises(DidgenError, match="has changed since it was imported"):
        load_real(manifest, [record], ("MEL",), 32)


def test_synthetic_images_are_those_of_the_shards(run: Path, source: Path) -> None:
    every, run_classes = taken_from(run, source)
    taken = [one for one in every if one.label == "BCC"]
    images = load_synthetic(run, taken, ("BCC",), run_classes, 32)
    found = {sample.key: sample.members["jpg"] for sample in iterate(run, "images")}
    assert images.keys == tuple(f"synthetic-{one.key}" for one in taken)
    assert len(images) == 5
    for one, pixels in zip(taken, images.pixels, strict=True):
        assert np.array_equal(pixels.numpy(), square(found[one.key], Path(one.key), 32))


def test_a_class_index_that_says_another_class_is_refused(run: Path, source: Path) -> None:
    every, _ = taken_from(run, source)
    with pytest.raises(DidgenError, match=r"\.cls says the class 0, and the sidecar MEL"):
        load_synthetic(run, every, ("MEL", "NV", "BCC"), ["NV", "MEL", "BCC"], 32)


def test_an_image_that_only_a_sidecar_knows_is_refused(run: Path, source: Path) -> None:
    every, classes = taken_from(run, source)
    ghost = SyntheticSample("ghost", "MEL", every[0].shard, "", "")
    with pytest.raises(DidgenError, match="does not hold the sample ghost"):
        load_synthetic(run, [*every, ghost], classes, classes, 32)


def test_a_broken_image_in_a_shard_is_named(
    make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    broken = make_run(tmp_path / "run")
    every, classes = taken_from(broken, source)
    tar = shard_path(broken, "images", 0)
    data = tar.read_bytes()
    start = data.index(b"\xff\xd8\xff")
    tar.write_bytes(data[:start] + b"no" + data[start + 2 :])
    with pytest.raises(DidgenError, match=r"images-000000\.tar/images-0+\.jpg is truncated or not"):
        load_synthetic(broken, every, classes, classes, 32)


def test_images_add_and_take(images: Images) -> None:
    both = images + images.take([3])
    assert len(both) == 13
    assert both.keys[-1] == both.keys[3]
    assert both.labels[-1] == both.labels[3]
    assert torch.equal(both.pixels[-1], both.pixels[3])
    hashed = hashlib.sha256(both.pixels[:12].numpy().tobytes()).digest()
    assert hashed == hashlib.sha256(images.pixels.numpy().tobytes()).digest()
