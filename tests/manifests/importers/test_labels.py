"""Tests of label tables: the three layouts, faulty rows, faulty files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.labels import image_name, read_labels, read_lesions
from didgen.manifests.sources.records import CLASSES


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_a_one_hot_table_is_read_in_any_column_order(tmp_path: Path) -> None:
    columns = CLASSES[::-1]
    rows = (
        f"x{place}," + ",".join("1.0" if label == hot else "0.0" for label in columns)
        for place, hot in enumerate(CLASSES)
    )
    read = read_labels(table(tmp_path, "image," + ",".join(columns), *rows))
    assert {name: row.label for name, row in read.rows.items()} == {
        f"x{place}": label for place, label in enumerate(CLASSES)
    }
    assert not read.rejections


def test_a_plain_table_gives_lesion_and_split(tmp_path: Path) -> None:
    read = read_labels(
        table(tmp_path, "\ufeffimage, label ,lesion_id,split", "d/a.JPG,MEL,l1,val", "b.c,naevus,,")
    )
    a, b = read.rows["a"], read.rows["b.c"]
    assert (a.label, a.lesion_id, a.split) == ("MEL", "l1", "val")
    assert (b.label, b.lesion_id, b.split) == ("naevus", None, None)
    assert b.place.name == "labels.csv line 3"


def test_ham_metadata_are_labels_and_lesions(tmp_path: Path) -> None:
    path = table(tmp_path, "lesion_id,image_id,dx,age", "HAM_1,ISIC_1,nv,45", "HAM_2,ISIC_2,zz,1")
    read = read_labels(path)
    assert {name: row.label for name, row in read.rows.items()} == {"ISIC_1": "NV"}
    assert [rejection.reason for rejection in read.rejections] == ["bad-label"]
    assert read_lesions(path) == {"ISIC_1": "HAM_1", "ISIC_2": "HAM_2"}


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_may_be_parted_otherwise(tmp_path: Path, mark: str) -> None:
    lines = [mark.join(row) for row in (("image", "label", "split"), ("a, b", "MEL", "val"))]
    read = read_labels(table(tmp_path, *lines))
    assert {name: (row.label, row.split) for name, row in read.rows.items()} == {
        "a, b": ("MEL", "val")
    }
    # Marks in a name are not taken for those between columns.
    named = f'image,label,"age{mark}sex{mark}site{mark}type"'
    read = read_labels(table(tmp_path, named, "a,MEL,1"))
    assert {name: row.label for name, row in read.rows.items()} == {"a": "MEL"}


def test_paths_of_windows_are_read(tmp_path: Path) -> None:
    read = read_labels(table(tmp_path, "image,label", r"mel\img1.jpg,MEL", r"nv\img2,NV"))
    assert {name: row.label for name, row in read.rows.items()} == {"img1": "MEL", "img2": "NV"}
    read = read_labels(table(tmp_path, "image,label", r"mel\x.jpg,MEL", r"nv\x.jpg,NV"))
    assert not read.rows and read.faulty == {"x"}


def test_an_image_of_two_lesions_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "image,lesion_id", "a,l1", "b,l1", "a.jpg,l1", "a,l2")
    with pytest.raises(DidgenError, match=r"line 5 gives a a second lesion, l2, after l1; keep"):
        read_lesions(path)


@pytest.mark.parametrize(
    "cells", ["1,1,0,0,0,0,0", "0,0,0,0,0,0,0", "0.5,0.5,0,0,0,0,0", "1,x,0,0,0,0,0", "1", "nan"]
)
def test_a_row_that_is_not_one_hot_is_rejected_alone(tmp_path: Path, cells: str) -> None:
    path = table(tmp_path, "image," + ",".join(CLASSES), f"a,{cells}", "b,0,1,0,0,0,0,0")
    read = read_labels(path)
    assert list(read.rows) == ["b"]
    assert read.faulty == {"a"}
    (rejection,) = read.rejections
    assert rejection.reason == "bad-label"
    assert "labels.csv line 2" in rejection.sentence


def test_repeated_and_faulty_rows_are_rejected_alone(tmp_path: Path) -> None:
    path = table(tmp_path, "image,label,split", "a,MEL,", "a,NV,", "b,NV,dev", "c,,", ",NV,")
    read = read_labels(path)
    assert {name: row.label for name, row in read.rows.items()} == {"a": "MEL"}
    reasons = [rejection.reason for rejection in read.rejections]
    assert reasons == ["duplicate-id", "bad-label", "bad-label", "bad-label"]


def test_rows_that_name_images_of_two_folders_are_all_rejected(tmp_path: Path) -> None:
    rows = ("mel/1.png,MEL", "nev/1.png,NV", "mel/1.png,MEL", "2.jpg,BCC", "./2,BCC")
    read = read_labels(table(tmp_path, "image,label", *rows))
    assert {name: row.label for name, row in read.rows.items()} == {"2": "BCC"}
    assert "1" in read.faulty
    told = [(Path(r.file).name, r.reason) for r in read.rejections]
    assert told == [(f"labels.csv line {line}", "duplicate-id") for line in (2, 3, 4, 6)]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, "image,MEL,NV,BCC,AKIEC,BKL", "a,1,0,0,0,0")
    with pytest.raises(DidgenError, match=r"labels\.csv has no column DF, VASC; its first line"):
        read_labels(path)
    with pytest.raises(DidgenError, match=r"no column lesion_id"):
        read_lesions(path)
    with pytest.raises(DidgenError, match=r"no column"):
        read_labels(table(tmp_path))


def test_unreadable_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match=r"gone\.csv does not exist; restore it"):
        read_labels(tmp_path / "gone.csv")
    path = tmp_path / "labels.csv"
    path.write_bytes(b"image,label\n\xff\xfe,MEL\n")
    with pytest.raises(DidgenError, match=r"labels\.csv is not UTF-8 CSV"):
        read_labels(path)


@given(st.text("aé. -", min_size=1).filter(lambda text: text.strip(".")), st.sampled_from("jJ"))
def test_folder_and_suffix_do_not_matter(stem: str, letter: str) -> None:
    assert image_name(f"some/folder/{stem}.{letter}pg") == stem
