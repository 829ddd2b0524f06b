"""Tests of preparing a classification: its steps, and what is refused before any is trained."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.downstream.benchmark.classification.benchmark import classify
from didgen.downstream.benchmark.classification.job import prepare_classification
from didgen.downstream.benchmark.recipe import ClassifyRecipe
from didgen.downstream.benchmark.results import training_folder
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.mix import mix, prepare_mix
from didgen.manifests.shards.shard import iterate
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.sources import changed_source

Make = Callable[..., ClassifyRecipe]


def test_arms_take_equal_steps_and_one_takes_equal_epochs(recipe: Make) -> None:
    job = prepare_classification(recipe(epochs=3))
    steps = {training.arm: training.steps for training in job.trainings}
    # 12 real and 10 synthetic images in batches of 4.
    arms = (*ClassifyRecipe.default_arms, "didgen")
    assert steps == {arm: 9 if arm == "original-epochs" else 18 for arm in arms}
    assert {job.evaluate_every(training) for training in job.trainings} == {3}
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
    recipe: Make, make_source: Callable[..., Path], tmp_path: Path
) -> None:
    def copy(manifest: SourceManifest) -> list[SourceRecord]:
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


def test_a_class_of_copies_alone_is_refused(
    recipe: Make, make_source: Callable[..., Path], tmp_path: Path
) -> None:
    def copies(manifest: SourceManifest) -> list[SourceRecord]:
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
    recipe: Make,
    make_run: Callable[..., Path],
    make_source: Callable[..., Path],
    source: Path,
    run: Path,
    tmp_path: Path,
) -> None:
    def of_the_run(manifest: SourceManifest) -> list[SourceRecord]:
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
    assert [len(run.images) for run in job.runs.values()] == [9]


def test_data_that_does_not_fit_is_refused(
    recipe: Make,
    make_run: Callable[..., Path],
    make_source: Callable[..., Path],
    source: Path,
    run: Path,
    tmp_path: Path,
) -> None:
    def shared(manifest: SourceManifest) -> list[SourceRecord]:
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


def test_a_shard_that_changed_is_refused(
    recipe: Make, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    damaged = make_run(tmp_path / "run")
    tar = damaged / "images" / "images-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(DidgenError, match="is missing or not as the run wrote it"):
        prepare_classification(recipe(run=damaged))


CONV = [{"name": "test_efficientnet", "called": "conv", "weights": "none"}]


def test_another_source_that_the_model_saw_is_refused(
    recipe: Make, make_run: Callable[..., Path], source: Path, outside: Path, tmp_path: Path
) -> None:
    seen = TrainedOn.of(SourceManifest.read(outside).records[:1])
    run = make_run(tmp_path / "run", trained_on=seen)
    with pytest.raises(DidgenError, match="was trained on other-0, which `outside`"):
        prepare_classification(recipe(run=run, outside=outside))


def test_the_scope_is_decided_from_files(
    recipe: Make, make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    train = SourceManifest.read(source).select(split="train", labelled=True)
    job = prepare_classification(recipe(real=[2, None], seeds=[0]))
    kept = {*job.real(2, 0).keys}
    own = TrainedOn.of(record for record in train if record.key in kept)
    runs = {
        "closed": make_run(tmp_path / "closed", trained_on=own),
        "shared": make_run(tmp_path / "shared", trained_on=TrainedOn.of(train)),
        "foreign": make_run(tmp_path / "foreign"),
    }
    few = {"run": None, "runs": runs, "real": [2, None], "seeds": [0], "networks": CONV}
    job = prepare_classification(recipe(**few, arms=["original", *runs]))
    scopes = {(t.arm, t.real): job.scope(t).name for t in job.trainings}
    assert scopes == {
        ("original", 2): "closed",
        ("original", None): "closed",
        ("closed", 2): "closed",
        ("closed", None): "closed",
        ("shared", 2): "open",
        # The shared model also saw nevi, which are no images of this benchmark.
        ("shared", None): "open",
        ("foreign", 2): "unknown",
        ("foreign", None): "unknown",
    }
    sound = {**few, "runs": {"closed": runs["closed"]}, "arms": ["original", "closed"]}
    prepare_classification(recipe(**sound, scope="closed"))
    with pytest.raises(DidgenError, match="`scope: closed` does not hold for conv, shared, 2 real"):
        prepare_classification(recipe(**few | {"arms": ["original", *runs]}, scope="closed"))


def test_a_network_may_share_what_the_generator_saw(
    recipe: Make, make_run: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    train = SourceManifest.read(source).select(split="train", labelled=True)
    run = make_run(tmp_path / "run", trained_on=TrainedOn.of(train))
    arms = ["original", "shared-network", "didgen"]
    few = {"run": run, "arms": arms, "real": [2], "seeds": [0], "networks": CONV}
    job = prepare_classification(recipe(**few))
    shared = next(iter(job.runs.values())).shared
    assert shared is not None and len(shared) == 12
    benchmark = classify(job, tmp_path / "out")
    assert {arm["steps"] for arm in benchmark["arms"]} == {benchmark["arms"][0]["steps"]}
    assert [arm["role"] for arm in benchmark["arms"]] == ["control", "control", "use"]
    folder = training_folder(tmp_path / "out", "conv", "shared-network", 0, 2)
    assert read_json(folder / "result.json")["asked"]["images"]["shared"] == 12
    with pytest.raises(DidgenError, match=r"names no training image .* that its generator saw"):
        prepare_classification(recipe(**few | {"run": make_run(tmp_path / "unlisted")}))


def test_another_source_needs_two_of_the_classes(
    recipe: Make, outside: Path, tmp_path: Path
) -> None:
    manifest = SourceManifest.read(outside)
    kept = tuple(r for r in manifest.records if r.label != "BCC")
    SourceManifest(manifest.header, kept).write(outside)
    with pytest.raises(DidgenError, match="images of fewer than two of the classes MEL, BCC"):
        prepare_classification(recipe(outside=outside))


def test_its_own_test_images_are_no_other_source(recipe: Make, source: Path) -> None:
    with pytest.raises(DidgenError, match="test images of the benchmark itself"):
        prepare_classification(recipe(outside={"source": source, "split": "test"}))


def test_synthetic_copies_of_another_source_are_not_tested(
    recipe: Make, make_run: Callable[..., Path], outside: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    data = next(iter(iterate(run, "images"))).members["jpg"]
    manifest = SourceManifest.read(outside)
    first = manifest.select(labelled=True)[0]
    manifest.image_path(first).write_bytes(data)
    changed = first.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    records = tuple(changed if r.key == first.key else r for r in manifest.records)
    SourceManifest(manifest.header, records).write(outside)
    job = prepare_classification(recipe(run=run, outside=outside))
    assert job.outside is not None and len(job.outside) == 18
    assert first.key not in job.outside.keys
