"""Tests of what folders are taken for: splits, classes, patients, or nothing without a word."""

from collections import Counter
from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import
from didgen.manifests.importers.finding.folders import read_levels
from didgen.manifests.importers.folder import import_folder
from tests.fixtures.pictures import write_box, write_noise


def grow(root: Path, *folders: str, each: int = 3) -> Path:
    """Images in folders, `each` in every one; `.` is the root."""
    for place, folder in enumerate(folders):
        for number in range(each):
            write_noise(root / folder / f"i{place}-{number}.png", 100 * place + number)
    return root


def counted(result: Import) -> Counter[tuple[str, str | None]]:
    return Counter((record.split, record.label) for record in result.manifest.records)


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "VALID", "Testing"), ("TRAIN", "validation", "test")],
)
def test_folders_of_splits_with_classes_below_are_both(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    parts = {train: "train", val: "val", test: "test"}
    grow(tmp_path, *(f"{part}/{label}" for part in parts for label in ("benign", "malignant")))
    result = import_folder(tmp_path, licence="own")
    assert counted(result) == {
        (split, label): 3 for split in parts.values() for label in ("benign", "malignant")
    }
    assert result.manifest.header.classes == ("benign", "malignant")
    (note,) = result.notes
    assert "each is a split" in note and "below it a class (benign, malignant)" in note


def test_folders_of_splits_below_classes_are_both(tmp_path: Path) -> None:
    grow(tmp_path, "mel/train", "mel/test", "nv/Training", "nv/test")
    result = import_folder(tmp_path, licence="own")
    assert counted(result) == {
        (split, label): 3 for split in ("train", "test") for label in ("MEL", "NV")
    }


def test_folders_of_splits_without_classes_are_splits(tmp_path: Path) -> None:
    result = import_folder(grow(tmp_path, "train", "test"), licence="own")
    assert counted(result) == {("train", None): 3, ("test", None): 3}


def test_a_table_gives_classes_to_folders_of_splits(tmp_path: Path) -> None:
    grow(tmp_path / "d", "train", "test")
    rows = [f"i{place}-{number},MEL" for place in range(2) for number in range(3)]
    (tmp_path / "t.csv").write_text("\n".join(["image,label", *rows]))
    result = import_folder(tmp_path / "d", labels=tmp_path / "t.csv", licence="own")
    assert counted(result) == {("train", "MEL"): 3, ("test", "MEL"): 3}
    (tmp_path / "t.csv").write_text("\n".join(["image,label,split", "i0-0,MEL,test"]))
    with pytest.raises(DidgenError, match=r"i0-0\.png is given to test by .* and to train by its"):
        import_folder(tmp_path / "d", labels=tmp_path / "t.csv", licence="own")


def test_images_and_masks_below_splits_are_told_apart(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(2):
            write_noise(tmp_path / split / "images" / f"{number}.png", number + 9 * len(split))
            write_box(tmp_path / split / "masks" / f"{number}.png")
    result = import_folder(tmp_path, licence="own")
    assert {r.reason for r in result.rejections} == {"looks-like-mask"}
    assert len(result.rejections) == 4
    result = import_folder(tmp_path, masks=tmp_path, licence="own")
    assert counted(result) == {("train", None): 2, ("test", None): 2}
    for record in result.manifest.records:
        assert record.mask == record.image.replace("images", "masks")
    assert len({record.key for record in result.manifest.records}) == 4


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (["train/a", "train/b"], "holds the folder train alone.*didgen import folder .*/train;"),
        (["train/a", "test/a", "extra/a"], r"may be parts and no classes \(test, train\)"),
        (["train/a", "test/a", "."], r"parts and no classes.*--folders split/class"),
        (["train_set/a", "test_set/a"], "parts and no classes.*--folders split/class"),
        (["ISIC_Train/a", "ISIC_Test/a"], "parts and no classes.*--folders split/class"),
        (["fold1/a", "fold2/a"], "parts and no classes.*--folders skip/class"),
        (["part_1", "part_2"], "parts and no classes.*--folders class"),
        (["train/a", "test"], "test holds images in no class folder.*folder .*train; to import"),
        (["a/train", "a/test", "b/x"], "splits below some of its folders only.*--folders class"),
        (["images", "other"], "images names no class; to import it alone: didgen import folder"),
        (["images"], "images names no class"),
        (["data/train/a", "data/test/a"], "data names no class; .*didgen import folder .*/data"),
        (["HAM10000_images_part_1"], "public set.*: didgen import ham10000"),
        (["ISIC_2019_Training_Input"], "public set.*: didgen import isic2019"),
        (["x/IMD002/IMD002_Dermoscopic_Image"], "public set.*: didgen import ph2"),
    ],
)
def test_unclear_trees_are_refused_with_the_command_that_would_do(
    tmp_path: Path, folders: list[str], told: str
) -> None:
    with pytest.raises(DidgenError, match=told) as caught:
        import_folder(grow(tmp_path, *folders), licence="own")
    assert "\n" not in str(caught.value)


def test_the_command_names_the_folder_of_masks_too(tmp_path: Path) -> None:
    grow(tmp_path, "images")
    write_box(tmp_path / "masks" / "i0-0.png")
    with pytest.raises(DidgenError, match=r"import folder \S+/images --masks \S+/masks; if"):
        import_folder(tmp_path, licence="own")


def test_a_folder_for_each_photograph_is_no_class(tmp_path: Path) -> None:
    grow(tmp_path, *(f"case {number:02}" for number in range(12)), each=2)
    with pytest.raises(DidgenError, match=r"12 folders, most of them with one or two images; say"):
        import_folder(tmp_path, licence="own")
    result = import_folder(tmp_path, licence="own", folders=read_levels("patient"))
    splits: dict[str | None, set[str]] = {}
    for record in result.manifest.records:
        splits.setdefault(record.patient_id, set()).add(record.split)
    assert len(splits) == 12 and all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("class", {"train": 3, "test": 3}),
        ("split/class", {"a": 6}),
        ("skip/class", {"a": 6}),
        ("skip", {None: 6}),
        ("split", {None: 6}),
    ],
)
def test_what_folders_mean_can_be_said(
    tmp_path: Path, asked: str, expected: dict[str | None, int]
) -> None:
    grow(tmp_path, "train/a", "test/a")
    result = import_folder(tmp_path, licence="own", folders=read_levels(asked))
    assert Counter(record.label for record in result.manifest.records) == expected


def test_patients_and_lesions_can_be_folders(tmp_path: Path) -> None:
    grow(tmp_path, "MEL/p1/l1", "MEL/p1/l2", "NV/p2/l1")
    result = import_folder(tmp_path, licence="own", folders=read_levels("class/patient/lesion"))
    found = {(r.label, r.patient_id, r.lesion_id) for r in result.manifest.records}
    # One lesion id of two patients is a lesion of each.
    assert found == {
        ("MEL", "p1", "l1 of p1"),
        ("MEL", "p1", "l2"),
        ("NV", "p2", "l1 of p2"),
    }


def test_folders_that_say_nothing_are_told(tmp_path: Path) -> None:
    result = import_folder(grow(tmp_path, "MEL/p1", "NV/p2", "NV/p3"), licence="own")
    assert any("Folders that say nothing: p1, p2, p3" in note for note in result.notes)
    (tmp_path / "DF").mkdir()
    result = import_folder(tmp_path, licence="own")
    assert "Folders without an image: DF." in result.notes


def test_images_beside_class_folders_are_rejected(tmp_path: Path) -> None:
    result = import_folder(grow(tmp_path, "MEL", "NV", "."), licence="own")
    assert {r.reason for r in result.rejections} == {"missing-label"}
    assert len(result.rejections) == 3


@pytest.mark.parametrize("text", ["", "classes", "split,class", "class/class", "split//class"])
def test_levels_of_other_words_are_refused(text: str) -> None:
    with pytest.raises(DidgenError, match="does not say what folders mean; give a word"):
        read_levels(text)


def test_systems_folders_are_passed_by(tmp_path: Path) -> None:
    grow(tmp_path, "MEL", "NV", "MEL/@eaDir/a.jpg", "__MACOSX/MEL", ".cache")
    result = import_folder(tmp_path, licence="own")
    assert len(result.manifest.records) == 6 and not result.rejections
