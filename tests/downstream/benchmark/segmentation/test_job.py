"""Tests of preparing a segmentation: its steps, and what is refused before any is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.downstream.benchmark.recipe import SegmentRecipe
from didgen.downstream.benchmark.segmentation.job import SegmentationJob, prepare_segmentation
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.benchmarks import SMALL_NET
from tests.fixtures.sources import changed_source

Make = Callable[..., SegmentRecipe]
SCALES = (8, None)


def test_arms_take_equal_steps_and_one_takes_equal_epochs(segment_recipe: Make) -> None:
    def steps(**fields: object) -> dict[tuple[str, int | None], int]:
        job = prepare_segmentation(segment_recipe(networks=[SMALL_NET], seeds=[0], **fields))
        return {(t.arm, t.real): t.steps for t in (*job.judges, *job.trainings)}

    # 6 synthetic pairs beside 8 or 18 real ones, in batches of 4.
    planned = steps(epochs=3)
    for real, equal, own in ((8, 12, 6), (None, 18, 15)):
        assert planned.pop(("original-epochs", real)) == own
        assert {n for (_, count), n in planned.items() if count == real} == {equal}
    limited = steps(epochs=3, max_steps=10)
    # 10 of 12 steps are 2.5 epochs, which are 5 steps of 8 real pairs.
    assert limited["didgen", 8] == 10
    assert limited["original-epochs", 8] == 5


def test_evaluations_come_after_equal_steps(
    segment_recipe: Make, segmentation_job: SegmentationJob
) -> None:
    def every(job: SegmentationJob) -> dict[int | None, set[int]]:
        return {
            real: {job.evaluate_every(t) for t in job.trainings if t.real == real}
            for real in SCALES
        }

    # At a scale, at the end alone: after four steps, or two of `original-epochs`.
    assert every(segmentation_job) == {8: {4, 2}, None: {5}}
    assert every(prepare_segmentation(segment_recipe(evaluate_every=3))) == {8: {4, 2}, None: {3}}


def test_a_split_of_copies_alone_is_refused(
    segment_recipe: Make, make_source: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_source(tmp_path)
    manifest = SourceManifest.read(source)
    test = manifest.select(split="test", masked=True)[0]
    files = {"image": test.image, "sha256": test.sha256}
    records = (r.model_copy(update=files) if r.split == "val" else r for r in manifest.records)
    SourceManifest(manifest.header, tuple(records)).write(source)
    with pytest.raises(DidgenError, match="without its near-duplicates has no masks in val"):
        prepare_segmentation(
            segment_recipe(source=source, run=None, arms=["original"], near_duplicates="drop")
        )


def test_layouts_of_test_masks_are_refused(
    segment_recipe: Make, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    for number, key in enumerate(("ISIC_0000008", "ISIC_0000017")):
        leaking = make_run(tmp_path / str(number), layouts=("ISIC_0000000", key))
        with pytest.raises(DidgenError, match=f"guided by the mask of {key}, which is no training"):
            prepare_segmentation(segment_recipe(run=leaking))


def test_a_copy_among_the_test_images_is_refused_or_dropped(
    segment_recipe: Make, make_source: Callable[..., Path], tmp_path: Path
) -> None:
    def copy(manifest: SourceManifest) -> list[SourceRecord]:
        first = manifest.records[0]
        files = {"image": first.image, "sha256": first.sha256}
        return [
            r.model_copy(update=files) if r.key == "ISIC_0000008" else r for r in manifest.records
        ]

    leaking = changed_source(tmp_path, copy)
    with pytest.raises(DidgenError, match="ISIC_0000000 in train is nearly ISIC_0000008 in test"):
        prepare_segmentation(segment_recipe(source=leaking))
    job = prepare_segmentation(segment_recipe(source=leaking, near_duplicates="drop"))
    assert [one["key"] for one in job.dropped] == ["ISIC_0000000"]
    assert "ISIC_0000000" not in job.real(None, 0).keys
    # Its mask is that of the test image, and guided two of the six pairs.
    (run,) = job.runs.values()
    assert run.images.guides == ("", "lesion 13", "lesion 24", "")


def test_masks_that_no_person_drew_are_trained_on_and_test_nothing(
    segment_recipe: Make, make_source: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_source(tmp_path)
    manifest = SourceManifest.read(source)
    drawn = {"ISIC_0000000", "ISIC_0000006", "ISIC_0000008"}  # of train, val and test
    (source / "annotated").mkdir()

    def by_model(record: SourceRecord) -> SourceRecord:
        if record.key not in drawn:
            return record
        place = f"annotated/{record.key}.png"
        (source / place).write_bytes(manifest.mask_path(record).read_bytes())
        return record.model_copy(update={"mask": place, "mask_by": "attention of mini"})

    SourceManifest(manifest.header, tuple(map(by_model, manifest.records))).write(source)
    job = prepare_segmentation(segment_recipe(source=source, run=None, arms=["original"]))
    keys = {split: {*part.keys} for split, part in job.images.items()}
    assert keys["train"] & drawn == {"ISIC_0000000"}
    assert not (keys["val"] | keys["test"]) & drawn and len(keys["val"]) == len(keys["test"]) == 5
    assert job.no_truths == "2 held-out masks by attention of mini are no truth, left out"
    every = (r.model_copy(update={"mask_by": "a net"}) for r in manifest.records)
    SourceManifest(manifest.header, tuple(every)).write(source)
    with pytest.raises(DidgenError, match="no image with a mask that a person drew in val"):
        prepare_segmentation(segment_recipe(source=source, run=None, arms=["original"]))


def test_data_that_does_not_fit_is_refused(
    segment_recipe: Make, make_source: Callable[..., Path], source: Path, tmp_path: Path
) -> None:
    def shared(manifest: SourceManifest) -> list[SourceRecord]:
        test = manifest.records[8].model_copy(update={"lesion_id": "lesion 0"})
        return [test if r.key == test.key else r for r in manifest.records]

    def bare(manifest: SourceManifest) -> list[SourceRecord]:
        return [
            r.model_copy(update={"mask": None}) if r.split == "val" else r for r in manifest.records
        ]

    for fields, sentence in (
        ({"run": tmp_path}, "finish the run"),
        ({"source": changed_source(tmp_path / "a", shared)}, "has the lesion lesion 0 in"),
        (
            {"source": changed_source(tmp_path / "b", bare)},
            "no image with a mask that a person drew in val",
        ),
        ({"collections": ["photos", "task 1"]}, "of the collection task 1; it has photos"),
        ({"real": [19]}, "asks for 19 training pairs and the source has 18"),
        ({"networks": [{"name": "monai.UNets"}]}, "no segmentation net monai.UNets"),
    ):
        with pytest.raises(DidgenError, match=sentence):
            prepare_segmentation(segment_recipe(**fields))


def test_a_collection_is_part_of_the_images(
    segment_recipe: Make, make_source: Callable[..., Path], tmp_path: Path
) -> None:
    def renamed(manifest: SourceManifest) -> list[SourceRecord]:
        return [
            r.model_copy(update={"source": "others"}) if r.label == "MEL" else r
            for r in manifest.records
        ]

    parted = changed_source(tmp_path, renamed)
    job = prepare_segmentation(segment_recipe(source=parted, collections=["photos"], real=[None]))
    assert {split: len(part) for split, part in job.images.items()} == {
        "train": 12,
        "val": 4,
        "test": 4,
    }
    # A pair may still be guided by a training mask of the other collection.
    (run,) = job.runs.values()
    assert "lesion 0" in run.images.guides


def test_each_seed_has_pairs_of_its_own_nested_in_their_number(segment_recipe: Make) -> None:
    job = prepare_segmentation(segment_recipe(real=[4, 8, None]))
    for seed in (0, 1):
        few, more, every = ({*job.real(real, seed).keys} for real in (4, 8, None))
        assert (len(few), len(more)) == (4, 8)
        assert few < more < every
    assert {*job.real(4, 0).keys} != {*job.real(4, 1).keys}


def test_another_source_needs_masks_and_a_model_that_never_saw_it(
    segment_recipe: Make, make_run: Callable[..., Path], outside: Path, tmp_path: Path
) -> None:
    manifest = SourceManifest.read(outside)
    job = prepare_segmentation(segment_recipe(outside=outside))
    assert job.outside is not None and len(job.outside) == 30
    seen = make_run(tmp_path / "run", trained_on=TrainedOn.of(manifest.records[:2]))
    with pytest.raises(DidgenError, match=r"other-0, which `outside` .* one of 2 such"):
        prepare_segmentation(segment_recipe(run=seen, outside=outside))
    bare = tuple(r.model_copy(update={"mask": None}) for r in manifest.records)
    SourceManifest(manifest.header, bare).write(outside)
    with pytest.raises(DidgenError, match="has no image with a mask that a person drew; test"):
        prepare_segmentation(segment_recipe(outside=outside))


def test_test_images_of_the_own_source_that_collections_leave_out_may_be_another_source(
    segment_recipe: Make, source: Path, tmp_path: Path
) -> None:
    own = changed_source(
        tmp_path,
        lambda m: [
            r.model_copy(update={"source": ("one", "two")[n % 2]}) for n, r in enumerate(m.records)
        ],
    )
    outside = {"source": own, "split": "test", "collections": ["two"]}
    asked = {"source": own, "run": None, "arms": ["original"], "near_duplicates": "drop"}
    job = prepare_segmentation(
        segment_recipe(**asked, real=[None], collections=["one"], outside=outside)
    )
    test = SourceManifest.read(own).select(split="test", masked=True)
    assert job.outside is not None
    assert {*job.outside.keys} <= {record.key for record in test if record.source == "two"}
    assert {*job.images["test"].keys} == {r.key for r in test if r.source == "one"}


def test_each_seed_has_networks_of_the_filter_of_its_own(segment_recipe: Make) -> None:
    job = prepare_segmentation(segment_recipe(seeds=[0, 1, 2], networks=[SMALL_NET]))
    for real in SCALES:
        assert [j.seed for j in job.judges if j.real == real] == [0, 0, 1, 1, 2, 2]
    first = [t for t in job.trainings if t.seed == 1 and t.real is None]
    assert [(j.arm, j.seed, j.real) for j in job.judges_of(first)] == [
        ("judge-didgen-0", 1, None),
        ("judge-didgen-1", 1, None),
    ]
    assert job.judges_of(t for t in first if t.arm != "didgen-filtered") == ()
