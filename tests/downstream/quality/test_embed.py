"""Tests of collections that pass by in batches, and of what is kept of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from didgen.downstream.quality.embed import embed, real_collection, synthetic_collection, views_of
from didgen.downstream.quality.extractors import find_extractor
from didgen.manifests.errors import DidgenError
from didgen.manifests.perceptual_hash import perceptual_hash
from didgen.manifests.runs.finish import read_whole_run
from didgen.manifests.runs.training_samples import training_samples
from didgen.manifests.sources.records import SourceManifest

EXTRACTOR = "timm:test_efficientnet/1"


def test_a_collection_says_what_its_records_say(source: Path) -> None:
    manifest = SourceManifest.read(source)
    found = real_collection(manifest, manifest.records)
    assert found.keys == tuple(record.key for record in manifest.records)
    assert found.labels == tuple(record.label or "" for record in manifest.records)
    assert found.units == tuple(record.lesion_id for record in manifest.records)
    assert len(found) == 30


def test_each_sample_of_a_run_is_a_lesion_of_its_own(run: Path, source: Path) -> None:
    whole, sidecars = read_whole_run(run)
    manifest = SourceManifest.read(source)
    samples = list(training_samples(run, whole, "images", sidecars["images"], manifest))
    found = synthetic_collection(run, "images", samples, whole.classes)
    assert found.units == tuple(f"synthetic-images-{n:06d}" for n in range(10))
    assert found.labels == ("MEL", "BCC") * 5
    assert len(list(found.squares(range(10), 16))) == 10


def test_pictures_come_in_the_order_that_is_asked(source: Path) -> None:
    manifest = SourceManifest.read(source)
    found = real_collection(manifest, manifest.records)
    places = np.array([7, 2, 19])
    pictures = found.pictures(places, 16)
    assert pictures.shape == (3, 3, 16, 16) and pictures.dtype == torch.uint8
    for place, picture in zip(places.tolist(), pictures, strict=True):
        (alone,) = found.squares([place], 16)
        assert np.array_equal(picture.numpy(), alone)


def test_features_and_hashes_are_those_of_one_image_after_the_other(source: Path) -> None:
    manifest = SourceManifest.read(source)
    found, extractor = (
        real_collection(manifest, manifest.records),
        find_extractor(EXTRACTOR, "none"),
    )
    counted: list[int] = []
    embedded = embed(found, extractor, 32, advance=counted.append)
    assert sum(counted) == 30 and embedded.nearest is None
    for place, square in enumerate(found.squares(range(30), 32)):
        one = torch.from_numpy(square.copy())[None]
        np.testing.assert_allclose(embedded.features[place], extractor(one)[0], atol=1e-5)
        assert np.array_equal(embedded.hashes[place], perceptual_hash(square))


def test_a_part_has_the_features_and_files_of_its_images(source: Path) -> None:
    manifest = SourceManifest.read(source)
    found = real_collection(manifest, manifest.records)
    embedded = embed(found, find_extractor(EXTRACTOR, "none"), 32)
    part = embedded.take([2, 7, 19])
    assert part.collection.keys == tuple(found.keys[place] for place in (2, 7, 19))
    assert part.collection.labels == tuple(found.labels[place] for place in (2, 7, 19))
    assert np.array_equal(part.features, embedded.features[[2, 7, 19]])
    (image,) = part.collection.squares([1], 16)
    (same,) = found.squares([7], 16)
    assert np.array_equal(image, same)


def test_every_orientation_is_a_view() -> None:
    extractor = find_extractor(EXTRACTOR, "none")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator)
    features, hashes = views_of(images, extractor, turned=True)
    assert features.shape[:2] == (2, 8) and hashes.shape == (2, 8, 256)
    plain, bits = views_of(images, extractor, turned=False)
    assert np.array_equal(plain[:, 0], features[:, 0]) and np.array_equal(bits[:, 0], hashes[:, 0])


def test_a_photograph_that_changed_is_named(
    make_source: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = SourceManifest.read(make_source(tmp_path))
    manifest.image_path(manifest.records[4]).write_bytes(b"other")
    found = real_collection(manifest, manifest.records)
    with pytest.raises(DidgenError, match=r"ISIC_0000004\.img has changed since it was imported"):
        embed(found, find_extractor(EXTRACTOR, "none"), 32)
