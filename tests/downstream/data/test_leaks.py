"""Tests of leaks: copies are found, strangers are not, lesions in two splits are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from didgen.downstream.data.images import Images, load_real
from didgen.downstream.data.leaks import (
    check_lesions,
    check_records,
    near_duplicates,
    perceptual_hashes,
    refuse,
    without,
)
from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.isic2018 import import_isic2018
from didgen.manifests.perceptual_hash import NEAR
from didgen.manifests.sources.records import SPLITS, SourceManifest, SourceRecord
from tests.fixtures.pictures import decoded, encoded
from tests.fixtures.sources import record


def recompressed(pixels: torch.Tensor) -> torch.Tensor:
    """A darker image after a smaller size and JPEG."""
    image = Image.fromarray(pixels.numpy().transpose(1, 2, 0))
    jpeg = encoded(image.resize((28, 28)), "JPEG", quality=80)
    again = np.asarray(Image.fromarray(decoded(jpeg)).resize(image.size)) * 0.9
    return torch.from_numpy(again.astype(np.uint8).transpose(2, 0, 1).copy())


def split_up(images: Images) -> tuple[dict[Split, Images], dict[Split, np.ndarray]]:
    """Four images a split; train and val each hold an altered copy of one of the test images."""
    parts = {split: images.take(range(4 * i, 4 * i + 4)) for i, split in enumerate(SPLITS)}
    places: tuple[tuple[Split, int], ...] = (("train", 1), ("val", 2))
    for split, place in places:
        parts[split].pixels[place] = recompressed(parts["test"].pixels[3])
    return parts, {split: perceptual_hashes(part) for split, part in parts.items()}


def test_an_altered_copy_is_found_and_the_earlier_split_gives_way(images: Images) -> None:
    parts, hashes = split_up(images)
    found = near_duplicates(parts, hashes)
    assert {(one.split, one.key) for one in found} == {("train", "image-1"), ("val", "image-6")}
    by_split = {one.split: one for one in found}
    assert (by_split["val"].later_split, by_split["val"].later_key) == ("test", "image-11")
    assert all(one.bits <= NEAR for one in found)
    left = without(parts, found)
    assert {split: len(part) for split, part in left.items()} == {"train": 3, "val": 3, "test": 4}
    assert near_duplicates(left, {s: perceptual_hashes(p) for s, p in left.items()}) == []
    with pytest.raises(DidgenError, match=r"image-1 in train is nearly .* one of 2 near-dup"):
        refuse(found, "source")


def test_strangers_are_no_near_duplicates(images: Images) -> None:
    parts = {split: images.take(range(4 * i, 4 * i + 4)) for i, split in enumerate(SPLITS)}
    found = near_duplicates(parts, {s: perceptual_hashes(p) for s, p in parts.items()})
    assert found == []
    refuse(found, "source")


def by_split(source: Path) -> dict[Split, list[SourceRecord]]:
    manifest = SourceManifest.read(source)
    return {split: manifest.select(split=split, labelled=True) for split in SPLITS}


def test_sound_splits_pass(source: Path) -> None:
    check_records(by_split(source), ["MEL", "NV", "BCC"], source)


@pytest.mark.parametrize("split", SPLITS)
def test_a_class_that_a_split_lacks_is_named(source: Path, split: Split) -> None:
    records = by_split(source)
    records[split] = [record for record in records[split] if record.label != "NV"]
    with pytest.raises(DidgenError, match=f"no image of NV in {split}; .* add NV to `exclude`"):
        check_records(records, ["MEL", "NV", "BCC"], source)
    check_records(records, ["MEL", "BCC"], source)


def test_a_test_lesion_of_two_classes_is_refused(source: Path) -> None:
    records = by_split(source)
    first = records["test"][0]
    for split in ("train", "test"):
        one = next(r for r in records[split] if r.label != first.label)
        records[split].append(one.model_copy(update={"lesion_id": first.lesion_id}))
    with pytest.raises(DidgenError, match=f"the lesion {first.lesion_id} in train"):
        check_records(records, ["MEL", "NV", "BCC"], source)
    records["train"].pop()
    with pytest.raises(DidgenError, match=f"{first.lesion_id} as {first.label} .* and as "):
        check_records(records, ["MEL", "NV", "BCC"], source)


@pytest.mark.parametrize(("one", "other"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_a_lesion_in_two_splits_is_refused(source: Path, one: Split, other: Split) -> None:
    records = by_split(source)
    shared = records[one][0].lesion_id
    records[other][1] = records[other][1].model_copy(update={"lesion_id": shared})
    with pytest.raises(DidgenError, match=f"the lesion {shared} in {one} .* and in {other}"):
        check_records(records, ["MEL", "NV", "BCC"], source)


@pytest.mark.data
@pytest.mark.slow
def test_the_known_pair_of_the_real_data_is_found_and_little_else(data_dir: Path) -> None:
    manifest = import_isic2018(data_dir / "isic2018").manifest
    classes = [name for name in manifest.header.classes if name != "NV"]
    images = {}
    for split in SPLITS:
        records = [r for r in manifest.select(split=split) if r.label in classes]
        check_records({s: manifest.select(split=s) for s in SPLITS}, [], data_dir)
        images[split] = load_real(manifest, records, classes, 128)
    found = near_duplicates(images, {s: perceptual_hashes(part) for s, part in images.items()})
    assert {(one.key, one.later_key) for one in found} >= {("ISIC_0029036", "ISIC_0027027")}
    assert len(found) <= 3


def test_a_patient_in_two_splits_is_refused() -> None:
    records: dict[Split, list[SourceRecord]] = {
        "train": [record("a", patient_id="p")],
        "val": [record("b", patient_id="q")],
        # A lesion may have the name of a patient.
        "test": [record("c", patient_id="p"), record("q")],
    }
    with pytest.raises(DidgenError, match=r"has the patient p in train \(a\) and in test \(c\)"):
        check_lesions(records, "source")
    check_lesions({**records, "test": records["test"][1:]}, "source")
