"""Tests of the ISIC 2018 importer on small official trees, sound and faulty, and on real data."""

import csv
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import, ImportOptions
from didgen.manifests.importers.isic2018 import import_isic2018
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.sources.records import CLASSES, SPLITS, SourceManifest
from tests.contracts.importer import ImporterContract
from tests.contracts.public_set import PublicSetContract
from tests.fixtures.pictures import write_box, write_noise

TASK1 = "ISIC2018_Task1-2_Training_Input"
TASK1_MASKS = "ISIC2018_Task1_Training_GroundTruth"
TASK3 = "ISIC2018_Task3_Training_Input"
TASK3_TABLE = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"
HAM_MASKS = "HAM10000_segmentations_lesion_tschandl"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
METADATA = "HAM10000_metadata"

write_photo = partial(write_noise, size=(96, 72), quality=95)
write_mask = partial(write_box, size=(96, 72))


def write_rows(path: Path, rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def one_hot(name: str, label: str) -> list[object]:
    return [name, *(float(label == column) for column in CLASSES)]


def make_task1(root: Path, count: int = 10) -> None:
    for number in range(count):
        write_photo(root / TASK1 / f"ISIC_{number:07}.jpg", number)
        write_mask(root / TASK1_MASKS / f"ISIC_{number:07}_segmentation.png")
    (root / TASK1 / "LICENSE.txt").write_text("text")


def make_task3(root: Path, count: int = 14) -> None:
    """Make `count` images of MEL and NV by turns, two images a lesion, with HAM masks."""
    names = [f"ISIC_{24306 + number:07}" for number in range(count)]
    labels = ["MEL" if number // 2 % 2 else "NV" for number in range(count)]
    for number, name in enumerate(names):
        write_photo(root / TASK3 / f"{name}.jpg", 1000 + number)
        write_mask(root / HAM_MASKS / f"{name}_segmentation.png")
    rows = [one_hot(*pair) for pair in zip(names, labels, strict=True)]
    write_rows(root / TASK3_TABLE, [["image", *CLASSES], *rows])
    lesions: list[list[object]] = [[n, f"HAM_{i // 2}", "x"] for i, n in enumerate(names)]
    write_rows(
        root / GROUPINGS,
        [["image", "lesion_id", "how"], *lesions, ["ISIC_0099999", "HAM_9", "absent here"]],
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "isic"
    make_task1(root)
    make_task3(root)
    return root


class TestIsic2018(ImporterContract):
    def write(self, folder: Path) -> None:
        make_task1(folder)
        make_task3(folder)

    def importing(self, folder: Path, **options: Any) -> Import:
        return import_isic2018(folder, ImportOptions(**options))


class TestTask3(PublicSetContract):
    name = "isic2018"

    def write(self, folder: Path) -> None:
        make_task3(folder, 24)


def only_rejection(result: Import, kept: int) -> tuple[str, str]:
    """The file name and reason of the single rejection of a tree of 24 images."""
    assert len(result.manifest.records) == kept
    (rejection,) = result.rejections
    assert Path(rejection.file).name.split()[0] in rejection.sentence
    assert "\n" not in rejection.sentence
    assert rejection.sentence.endswith(".")
    return Path(rejection.file).name, rejection.reason


def assert_no_lesion_in_two_splits(manifest: SourceManifest) -> None:
    splits = defaultdict(set)
    for record in manifest.records:
        splits[record.lesion_id].add(record.split)
    assert all(len(found) == 1 for found in splits.values())


def test_both_tasks_import_whole(tree: Path) -> None:
    seen: list[tuple[int, int]] = []
    options = ImportOptions(progress=lambda done, total: seen.append((done, total)))
    result = import_isic2018(tree, options)
    manifest = result.manifest
    assert result.rejections == ()
    assert seen == [(done, 24) for done in range(1, 25)]
    assert [r.key for r in manifest.records] == sorted(r.key for r in manifest.records)
    assert_no_lesion_in_two_splits(manifest)
    task1, task3 = manifest.select(labelled=False), manifest.select(labelled=True)
    assert len(task1) == 10
    assert len(task3) == 14
    assert {(r.source, r.licence) for r in task1} == {("isic2018-task1", "CC0-1.0")}
    assert {(r.source, r.licence) for r in task3} == {("isic2018-task3", "CC-BY-NC-4.0")}
    assert all(r.lesion_id == r.key for r in task1)
    assert len({r.lesion_id for r in task3}) == 7
    for record in manifest.records:
        assert (record.width, record.height) == (96, 72)
        assert manifest.image_path(record).stem == record.key
        assert manifest.mask_path(record).is_file()
    for split in ("train", "val", "test"):
        assert {r.label for r in manifest.select(split=split)} == {"MEL", "NV", None}


def test_folders_may_lie_one_deeper(tree: Path) -> None:
    for name in (TASK1, HAM_MASKS):
        (tree / name).rename(tree / "moved")
        (tree / name).mkdir()
        (tree / "moved").rename(tree / name / name)
    (tree / "zip3").mkdir()
    for name in (TASK3, "ISIC2018_Task3_Training_GroundTruth", GROUPINGS):
        (tree / name).rename(tree / "zip3" / name)
    junk = tree / "__MACOSX" / TASK1 / f"._{TASK1}.jpg"
    junk.parent.mkdir(parents=True)
    junk.write_bytes(b"resource fork")
    result = import_isic2018(tree)
    assert result.rejections == ()
    assert len(result.manifest.select(masked=True)) == 24


@pytest.mark.parametrize("make", [make_task1, make_task3])
def test_either_task_may_come_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    result = import_isic2018(tmp_path)
    assert result.rejections == ()
    assert len({r.source for r in result.manifest.records}) == 1


@pytest.mark.parametrize("suffixes", [(".JPG", ".PNG"), (".jpeg", ".bmp"), (".JPEG", ".Png")])
def test_endings_are_known_in_any_case(tree: Path, suffixes: tuple[str, str]) -> None:
    expected = {(r.key, r.split, r.mask is None) for r in import_isic2018(tree).manifest.records}
    for path in sorted(p for p in tree.rglob("*") if p.suffix in (".jpg", ".png")):
        path.rename(path.with_suffix(suffixes[path.suffix == ".png"]))
    result = import_isic2018(tree)
    assert result.rejections == ()
    assert {(r.key, r.split, r.mask is None) for r in result.manifest.records} == expected


@pytest.mark.parametrize(("folder", "title"), [(TASK3, "Task 3"), (TASK1, "Task 1")])
def test_a_truth_without_its_images_is_told(tree: Path, folder: str, title: str) -> None:
    shutil.rmtree(tree / folder)
    result = import_isic2018(tree)
    (rejection,) = result.rejections
    assert rejection.reason == "missing-image"
    assert f"is of ISIC 2018 {title} Training, but there are no images in" in rejection.sentence
    assert len(result.manifest.records) == (10 if folder == TASK3 else 14)


def test_neither_task_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match=f"neither {TASK1} nor {TASK3} with images"):
        import_isic2018(tmp_path)


def test_a_truncated_jpeg_is_rejected(tree: Path) -> None:
    path = tree / TASK3 / "ISIC_0024307.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    result = import_isic2018(tree)
    assert only_rejection(result, 23) == ("ISIC_0024307.jpg", "unreadable-image")


@pytest.mark.parametrize("folder", [TASK1_MASKS, HAM_MASKS])
@pytest.mark.parametrize(
    "reason", ["mask-size", "empty-mask", "non-binary-mask", "unreadable-mask"]
)
def test_a_faulty_mask_rejects_its_image(tree: Path, folder: str, reason: str) -> None:
    path = sorted((tree / folder).iterdir())[3]
    if reason == "mask-size":
        write_mask(path, size=(12, 16))
    elif reason == "empty-mask":
        Image.new("L", (96, 72)).save(path)
    elif reason == "non-binary-mask":
        Image.linear_gradient("L").resize((96, 72)).save(path)
    else:
        path.write_bytes(path.read_bytes()[:40])
    result = import_isic2018(tree)
    assert only_rejection(result, 23) == (path.name, reason)
    assert path.name.removesuffix("_segmentation.png") not in {
        r.key for r in result.manifest.records
    }


def test_a_task1_image_needs_a_mask_but_a_task3_image_does_not(tree: Path) -> None:
    (tree / TASK1_MASKS / "ISIC_0000004_segmentation.png").unlink()
    (tree / HAM_MASKS / "ISIC_0024310_segmentation.png").unlink()
    result = import_isic2018(tree)
    assert only_rejection(result, 23) == ("ISIC_0000004.jpg", "missing-mask")
    assert [r.key for r in result.manifest.select(masked=False)] == ["ISIC_0024310"]


def test_a_mask_without_image_is_rejected(tree: Path) -> None:
    (tree / TASK1 / "ISIC_0000004.jpg").unlink()
    found = only_rejection(import_isic2018(tree), 23)
    assert found == ("ISIC_0000004_segmentation.png", "missing-image")


def test_a_label_without_image_is_rejected(tree: Path) -> None:
    (tree / TASK3 / "ISIC_0024306.jpg").unlink()
    found = only_rejection(import_isic2018(tree), 23)
    assert found == ("ISIC2018_Task3_Training_GroundTruth.csv line 2", "missing-image")


def test_an_image_without_label_is_rejected(tree: Path) -> None:
    path = tree / TASK3_TABLE
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    assert only_rejection(import_isic2018(tree), 23) == ("ISIC_0024319.jpg", "missing-label")


def test_an_image_without_lesion_id_is_rejected(tree: Path) -> None:
    path = tree / GROUPINGS
    path.write_text("\n".join(path.read_text().splitlines()[:-2]))
    assert only_rejection(import_isic2018(tree), 23) == ("ISIC_0024319.jpg", "missing-lesion")


@pytest.mark.parametrize(("label", "reason"), [("NV", "duplicate-id"), ("MEL", "contradiction")])
def test_a_repeated_row_is_rejected(tree: Path, label: str, reason: str) -> None:
    with open(tree / TASK3_TABLE, "a", newline="") as file:
        csv.writer(file).writerow(one_hot("ISIC_0024306", label))
    result = import_isic2018(tree)
    kept = 24 if reason == "duplicate-id" else 23
    assert only_rejection(result, kept)[1] == reason
    assert reason == "duplicate-id" or "NV" in result.rejections[0].sentence


def test_an_id_of_both_tasks_keeps_its_label(tree: Path) -> None:
    write_photo(tree / TASK1 / "ISIC_0024306.jpg", 77)
    write_mask(tree / TASK1_MASKS / "ISIC_0024306_segmentation.png")
    result = import_isic2018(tree)
    assert only_rejection(result, 24) == ("ISIC_0024306.jpg", "duplicate-id")
    assert f"/{TASK1}/" in result.rejections[0].file
    assert {r.key: r.label for r in result.manifest.records}["ISIC_0024306"] == "NV"


def test_a_copy_under_another_id_is_rejected(tree: Path) -> None:
    shutil.copy(tree / TASK1 / "ISIC_0000002.jpg", tree / TASK1 / "ISIC_0000007.jpg")
    found = only_rejection(import_isic2018(tree), 23)
    assert found == ("ISIC_0000007.jpg", "duplicate-content")


def test_a_torn_first_copy_does_not_hide_the_whole_one(tree: Path) -> None:
    torn = tree / TASK3 / "ISIC_0000000.jpg"
    shutil.copy(tree / TASK1 / "ISIC_0000001.jpg", torn)
    torn.write_bytes(torn.read_bytes()[:-200])
    for path, row in (
        (tree / TASK3_TABLE, one_hot("ISIC_0000000", "NV")),
        (tree / GROUPINGS, ["ISIC_0000000", "HAM_0", "x"]),
    ):
        with open(path, "a", newline="") as file:
            csv.writer(file).writerow(row)
    assert only_rejection(import_isic2018(tree), 24)[1] == "unreadable-image"


def test_a_table_with_wrong_columns_costs_task3_only(tree: Path) -> None:
    write_rows(tree / TASK3_TABLE, [["image", *CLASSES[:-1]], ["ISIC_0024306", *"100000"]])
    result = import_isic2018(tree)
    assert only_rejection(result, 10)[1] == "bad-table"
    assert "no column VASC" in result.rejections[0].sentence


def test_a_name_that_is_no_key_is_rejected(tree: Path) -> None:
    write_photo(tree / TASK1 / "ISIC_1 (copy).jpg", 5000)
    write_mask(tree / TASK1_MASKS / "ISIC_1 (copy)_segmentation.png")
    (rejection,) = import_isic2018(tree).rejections
    assert rejection.reason == "bad-record"
    assert "`key` is wrong" in rejection.sentence


def test_without_ground_truth_the_rest_is_imported(tree: Path) -> None:
    # The list of lesions may lie in the same folder; it is no ground truth.
    (tree / GROUPINGS).rename((tree / TASK3_TABLE).with_name(GROUPINGS))
    (tree / TASK3_TABLE).unlink()
    assert only_rejection(import_isic2018(tree), 10)[1] == "missing-ground-truth"
    make_task3(tree)
    shutil.rmtree(tree / TASK1_MASKS)
    assert only_rejection(import_isic2018(tree), 14)[1] == "missing-ground-truth"


def test_without_lesion_ids_task3_is_left_out(tree: Path) -> None:
    (tree / GROUPINGS).unlink()
    assert only_rejection(import_isic2018(tree), 10) == (GROUPINGS, "missing-lesion")


def test_metadata_fill_gaps_of_the_lesion_groupings(tree: Path) -> None:
    path = tree / GROUPINGS
    path.write_text("\n".join(path.read_text().splitlines()[:-2]))
    write_rows(
        tree / METADATA,
        [["lesion_id", "image_id"], ["HAM_6", "ISIC_0024319"], ["HAM_x", "ISIC_0024306"]],
    )
    result = import_isic2018(tree)
    assert result.rejections == ()
    lesions = {r.key: r.lesion_id for r in result.manifest.records}
    assert (lesions["ISIC_0024319"], lesions["ISIC_0024306"]) == ("HAM_6", "HAM_0")


@pytest.mark.parametrize("suffix", ["", ".csv"])
def test_metadata_give_labels_and_lesions(tree: Path, suffix: str) -> None:
    expected = {r.key: (r.label, r.lesion_id) for r in import_isic2018(tree).manifest.records}
    rows: list[list[object]] = [
        [lesion, key, label.lower()] for key, (label, lesion) in expected.items() if label
    ]
    rows.append(["HAM_9", "ISIC_0099999", "nv"])
    write_rows(tree / f"{METADATA}{suffix}", [["lesion_id", "image_id", "dx"], *rows])
    (tree / TASK3_TABLE).unlink()
    (tree / GROUPINGS).unlink()
    result = import_isic2018(tree)
    assert result.rejections == ()
    assert {r.key: (r.label, r.lesion_id) for r in result.manifest.records} == expected


def test_official_validation_and_test_keep_their_split(tree: Path) -> None:
    official: list[tuple[str, Split, int]] = [("Validation", "val", 50), ("Test", "test", 60)]
    for part, split, first in official:
        for number in range(first, first + 3):
            name = f"ISIC_{number:07}"
            write_photo(tree / f"ISIC2018_Task1-2_{part}_Input" / f"{name}.jpg", number)
            write_mask(tree / f"ISIC2018_Task1_{part}_GroundTruth" / f"{name}_segmentation.png")
        name = f"ISIC_00{first}000"
        write_photo(tree / f"ISIC2018_Task3_{part}_Input" / f"{name}.jpg", first * 7)
        folder = f"ISIC2018_Task3_{part}_GroundTruth"
        write_rows(tree / folder / f"{folder}.csv", [["image", *CLASSES], one_hot(name, "DF")])
        result = import_isic2018(tree, ImportOptions(fractions=(1.0, 0.0, 0.0)))
        assert result.rejections == ()
        assert Counter(r.label for r in result.manifest.select(split=split)) == {None: 3, "DF": 1}
    assert len(result.manifest.select(split="train")) == 24


def test_a_source_for_a_model_holds_out_nothing_that_it_was_trained_on(tree: Path) -> None:
    before = import_isic2018(tree).manifest
    held_out = [r for r in before.records if r.split != "train"]
    # One image of a lesion of two, and images of Task 1 under the names of another collection.
    seen = [r for r in held_out if r.label][:1] + [r for r in held_out if not r.label]
    moved = [r.model_copy(update={"source": "elsewhere", "sha256": "0" * 64}) for r in seen]
    trained_on = TrainedOn.of(moved)
    with pytest.raises(DidgenError, match="--for-model"):
        trained_on.check("m", tree, before)
    half = len(moved) // 2
    models = ("m", TrainedOn.of(moved[:half])), ("n", TrainedOn.of(moved[half:]))
    result = import_isic2018(tree, ImportOptions(for_models=models))
    assert result.rejections == ()
    assert result.manifest.header.for_models == ("m", "n")
    trained_on.check("m", tree, result.manifest)
    assert_no_lesion_in_two_splits(result.manifest)
    splits = {r.key: r.split for r in result.manifest.records}
    assert {splits[r.key] for r in seen} == {"train"}
    # Others take their places.
    assert result.manifest.select(split="test", labelled=False)


def test_official_test_images_that_a_model_was_trained_on_are_left_out(tree: Path) -> None:
    name = "ISIC_0000060"
    write_photo(tree / "ISIC2018_Task1-2_Test_Input" / f"{name}.jpg", 60)
    write_mask(tree / "ISIC2018_Task1_Test_GroundTruth" / f"{name}_segmentation.png")
    (given,) = (r for r in import_isic2018(tree).manifest.records if r.key == name)
    result = import_isic2018(tree, ImportOptions(for_models=[("m", TrainedOn.of([given]))]))
    assert only_rejection(result, 24) == (f"{name}.jpg", "trained-on")


def test_a_model_that_tells_nothing_of_its_training_has_no_source(tree: Path) -> None:
    with pytest.raises(DidgenError, match=r"No trained_on\.jsonl was found for the model"):
        import_isic2018(tree, ImportOptions(for_models=[("some/model", TrainedOn())]))


def test_nothing_sound_is_one_sentence(tmp_path: Path) -> None:
    make_task1(tmp_path, 2)
    for path in (tmp_path / TASK1).glob("*.jpg"):
        path.write_bytes(b"torn")
    with pytest.raises(
        DidgenError, match=r"Nothing could be imported .* truncated or not an image"
    ):
        import_isic2018(tmp_path)


@pytest.mark.data
@pytest.mark.slow
def test_the_real_folders_import_whole(data_dir: Path) -> None:
    result = import_isic2018(data_dir / "isic2018")
    assert result.rejections == ()
    manifest = result.manifest
    assert_no_lesion_in_two_splits(manifest)
    assert len(manifest.select(labelled=False, masked=True)) == 2194
    labelled = manifest.select(labelled=True)
    assert len(labelled) == 6310
    assert Counter(record.label for record in labelled) == {
        "MEL": 1113,
        "NV": 3000,
        "BCC": 514,
        "AKIEC": 327,
        "BKL": 1099,
        "DF": 115,
        "VASC": 142,
    }
    for label in (*CLASSES, None):
        counts = Counter(record.split for record in manifest.records if record.label == label)
        for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
            assert abs(counts[split] - share * counts.total()) < 1
