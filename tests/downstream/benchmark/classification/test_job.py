"""Tests of preparing a classification: its steps, and what is refused before any is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ARMS, ClassifyRecipe
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.sources import changed_source

Make = Callable[..., ClassifyRecipe]


def test_arms_take_equal_steps_and_one_takes_equal_epochs(recipe: Make) -> None:
    job = prepare_classification(recipe(epochs=3))
    steps = {training.arm: training.steps for training in job.trainings}
    # 12 real and 10 synthetic images in batches of 4.
    assert steps == {arm: 9 if arm == "original-epochs" else 18 for arm in ARMS}
    assert job.evaluate_every == 3
    own = [{"name": "test_vit", "weights": "none", "arguments": {"img_size": 32}, "epochs": 2}]
    assert {t.steps for t in prepare_classification(recipe(networks=own)).trainings} == {12, 6}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"img_size": 64, "dynamic_img_size": False},
            r"test_vit cannot take images of 32 px \(Input height",
        ),
        ({"img_size": 32, "global_pool": ""}, "test_vit does not give one number for each class"),
    ],
)
def test_a_network_is_tried_before_any_is_trained(
    recipe: Make, arguments: dict[str, object], sentence: str
) -> None:
    networks = [
        {"name": "test_efficientnet", "weights": "none"},
        {"name": "test_vit", "weights": "none", "arguments": arguments},
    ]
    with pytest.raises(DidgenError, match=sentence):
        prepare_classification(recipe(networks=networks))


def test_a_copy_among_the_test_images_is_refused_or_dropped(
    recipe: Make, make_source, tmp_path: Path
) -> None:
    def copy(manifest: SourceManifest) -> list:
        first = manifest.records[0]
        files = {"image": first.image, "sha256": first.sha256}
        return [
            record.model_copy(update=files) if record.key == "ISIC_0000008" else record
            for record in manifest.records
        ]

    leaking = changed_source(tmp_path, copy)
    with pytest.raises(DidgenError, match="ISIC_0000000 in train is nearly ISIC_0000008 in test"):
        prepare_classification(recipe(source=leaking))
    job = prepare_classification(recipe(source=leaking, near_duplicates="drop"))
    assert [one["key"] for one in job.dropped] == ["ISIC_0000000"]
    assert len(job.images["train"]) == 11
    assert "ISIC_0000000" not in job.images["train"].keys


def test_a_class_of_copies_alone_is_refused(recipe: Make, make_source, tmp_path: Path) -> None:
    def copies(manifest: SourceManifest) -> list:
        test = manifest.records[8]
        files = {"image": test.image, "sha256": test.sha256}
        return [
            record.model_copy(update=files)
            if record.label == "MEL" and record.split == "train"
            else record
            for record in manifest.records
        ]

    leaking = changed_source(tmp_path, copies)
    with pytest.raises(DidgenError, match="without its near-duplicates has no image of MEL in tra"):
        prepare_classification(recipe(source=leaking, near_duplicates="drop"))


def test_a_synthetic_copy_of_a_test_image_is_refused(
    recipe: Make, make_run, make_source, source: Path, run: Path, tmp_path: Path
) -> None:
    def of_the_run(manifest: SourceManifest) -> list:
        import hashlib

        from didgen.manifests.shards.shard import iterate

        data = next(iter(iterate(run, "images"))).members["jpg"]
        record = manifest.records[8]
        manifest.image_path(record).write_bytes(data)
        update = {"sha256": hashlib.sha256(data).hexdigest()}
        return [r.model_copy(update=update) if r is record else r for r in manifest.records]

    leaking = changed_source(tmp_path, of_the_run)
    with pytest.raises(
        DidgenError, match="synthetic-images-000000 in train is nearly ISIC_0000008"
    ):
        prepare_classification(recipe(source=leaking))
    job = prepare_classification(recipe(source=leaking, near_duplicates="drop"))
    assert job.synthetic is not None
    assert len(job.synthetic) == 9


def test_data_that_does_not_fit_is_refused(
    recipe: Make, make_run, make_source, source: Path, run: Path, tmp_path: Path
) -> None:
    def shared(manifest: SourceManifest) -> list:
        test = manifest.records[8].model_copy(update={"lesion_id": "lesion 0"})
        return [test if r.key == test.key else r for r in manifest.records]

    other = make_run(tmp_path / "other", classes=["MEL", "NV", "BCC", "Rash"])
    mixed = tmp_path / "mixed"
    mix(prepare_mix(MixRecipe(source=source, run=run, ratio=0.5)), mixed)
    lesions = changed_source(tmp_path / "a", shared)
    lacking = changed_source(
        tmp_path / "b",
        lambda m: [r for r in m.records if (r.label, r.split) != ("BCC", "val")],
    )
    for fields, sentence in (
        ({"run": other}, "was made for the class Rash"),
        ({"run": mixed}, "is a mix already"),
        ({"run": tmp_path}, "finish the run"),
        ({"source": lesions}, "has the lesion lesion 0 in train"),
        ({"source": lacking}, "has no image of BCC in val"),
        ({"exclude": ["Rash"]}, "has no class Rash to exclude"),
        ({"exclude": ["NV", "BCC"]}, "leaves 1 classes"),
        ({"exclude": ["MEL"]}, "`positive` is MEL, which is none of NV, BCC"),
    ):
        with pytest.raises(DidgenError, match=sentence):
            prepare_classification(recipe(**fields))


def test_a_shard_that_changed_is_refused(recipe: Make, make_run, tmp_path: Path) -> None:
    damaged = make_run(tmp_path / "run")
    tar = damaged / "images" / "images-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(DidgenError, match="is missing or not as the run wrote it"):
        prepare_classification(recipe(run=damaged))
