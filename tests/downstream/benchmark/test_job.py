"""Tests of what the jobs of all benchmarks have."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from didgen.downstream.benchmark.job import (
    Training,
    batches,
    run_folders,
    screened,
    start_of,
    taken_from,
    unit_of,
)
from didgen.downstream.benchmark.recipe import ClassifyRecipe
from didgen.downstream.data.images import Images, load_synthetic
from didgen.downstream.data.leaks import perceptual_hashes, with_outside
from didgen.downstream.networks.weights import RANDOM, Weights
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import sha256_of
from didgen.manifests.sources.records import SPLITS, SourceManifest
from tests.fixtures.networks import classifier
from tests.fixtures.reviews import accept_all, write_reviews
from tests.fixtures.sources import changed_source

Make = Callable[..., ClassifyRecipe]


def test_a_training_says_what_it_is() -> None:
    network = classifier(called="conv")
    assert str(Training(network, "didgen", 3, 100)) == "conv, didgen, seed 3"
    assert str(Training(network, "didgen", 3, 100, real=8)) == "conv, didgen, 8 real, seed 3"


@pytest.mark.parametrize(("images", "count"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_the_last_batch_of_an_epoch_may_be_smaller(recipe: Make, images: int, count: int) -> None:
    assert batches(recipe(batch_size=4), images) == count


def test_a_start_has_the_hash_of_its_file_and_the_size_of_its_network(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    start = start_of(Weights(file, "weights of w"), torch.nn.Linear(3, 2))
    assert (start.sha256, start.parameters) == (sha256_of(file), 8)
    assert start_of(Weights(None, RANDOM), torch.nn.Linear(3, 2)).sha256 is None


def test_synthetic_samples_are_those_of_the_run_and_its_shards_are_hashed(
    recipe: Make, source: Path, run: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = SourceManifest.read(source)
    taken = taken_from(run, recipe(), manifest, "images", None)
    assert taken.classes == ["MEL", "NV", "BCC"]
    assert [one.key for one in taken.samples] == [f"images-{n:06d}" for n in range(10)]
    again = make_run(tmp_path / "again")
    assert taken_from(again, recipe(), manifest, "images", None).sha256 == taken.sha256
    other = make_run(tmp_path / "other", labels=("NV", "BCC"))
    assert taken_from(other, recipe(), manifest, "images", None).sha256 != taken.sha256


def test_what_is_nearly_a_later_image_is_left_out_or_refused(recipe: Make, images: Images) -> None:
    parts = {split: images.take(range(4 * n, 4 * n + 4)) for n, split in enumerate(SPLITS)}
    parts["train"].pixels[1] = parts["test"].pixels[2]
    hashes = {split: perceptual_hashes(part) for split, part in parts.items()}
    synthetic = images.take([0, 9])
    asked = recipe(near_duplicates="drop")
    made_by = Path("run")
    kept, made, found = screened(asked, parts, hashes, {made_by: synthetic}, None)
    assert kept["train"].keys == ("image-0", "image-2", "image-3")
    # The second of them is an image of the test split.
    assert made[made_by].keys == ("image-0",)
    assert [(one.key, one.later_split) for one in found] == [
        ("image-1", "test"),
        ("image-9", "test"),
    ]
    with pytest.raises(DidgenError, match="image-1 in train is nearly image-10 in test"):
        screened(recipe(near_duplicates="refuse"), parts, hashes, {}, None)
    with pytest.raises(DidgenError, match="has no sample left without copies"):
        screened(asked, parts, hashes, {made_by: images.take([9])}, None)


def test_each_scale_and_seed_may_have_a_run_of_its_own(recipe: Make) -> None:
    asked = recipe(run=None, runs={"ours": "r/{real}-{seed}", "theirs": "t"}, real=[4, None])
    assert run_folders(asked) == {
        Path("r/4-0"): "ours",
        Path("r/4-1"): "ours",
        Path("r/all-0"): "ours",
        Path("r/all-1"): "ours",
        Path("t"): "theirs",
    }


def test_the_unit_is_what_the_records_of_all_sources_know(
    recipe: Make, source: Path, tmp_path: Path
) -> None:
    known = changed_source(
        tmp_path,
        lambda m: [r.model_copy(update={"patient_id": r.key}) for r in m.records],
    )
    lesions, patients = SourceManifest.read(source), SourceManifest.read(known)
    assert unit_of(recipe(), lesions) == "lesion"
    assert unit_of(recipe(source=known), patients) == "patient"
    assert unit_of(recipe(source=known, outside=source), patients) == "patient or lesion"


def test_outside_images_near_what_is_learned_are_left_out(images: Images) -> None:
    outside = images.take([0, 4, 8])
    learned = [images.take([1, 4]), images.take([]), images.take([8, 9])]
    assert with_outside(learned, outside, None).keys == ("image-0",)
    with pytest.raises(DidgenError, match="other has no image left that is not nearly one"):
        with_outside([images], outside, Path("other"))


def test_reviews_decide_where_the_recipe_asks_for_them(
    recipe: Make, make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    run, manifest = make_run(tmp_path / "run"), SourceManifest.read(source)
    with pytest.raises(DidgenError, match="run `didgen review"):
        taken_from(run, recipe(run=run, reviewed="accepted"), manifest, "images", None)
    accept_all(run, "pairs")
    with pytest.raises(DidgenError, match="has none of its images accepted"):
        taken_from(run, recipe(run=run, reviewed="accepted"), manifest, "images", None)
    before = taken_from(run, recipe(run=run), manifest, "images", None)
    accept_all(run, "images", ["images-000000", "images-000002"])
    write_reviews(run, ("images", "images-000001", {"label": "NV"}))
    assert taken_from(run, recipe(run=run), manifest, "images", None).sha256 == before.sha256
    found = taken_from(run, recipe(run=run, reviewed="accepted"), manifest, "images", None)
    assert found.sha256 != before.sha256
    assert {one.key: (one.label, one.made_as) for one in found.samples} == {
        "images-000000": ("MEL", ""),
        "images-000001": ("NV", "BCC"),
        "images-000002": ("MEL", ""),
    }
    images = load_synthetic(run, found.samples, manifest.header.classes, found.classes, 32)
    assert [manifest.header.classes[label] for label in images.labels] == ["MEL", "NV", "MEL"]
    # Another class is other data.
    write_reviews(run, ("images", "images-000001", {"label": "MEL"}))
    again = taken_from(run, recipe(run=run, reviewed="accepted"), manifest, "images", None)
    assert again.sha256 != found.sha256
