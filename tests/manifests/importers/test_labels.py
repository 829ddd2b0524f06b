"""Tests of label tables: what rows say, which columns say it, and whose image it is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.finding.harvest import Harvest
from didgen.manifests.importers.labels import (
    ImageRow,
    LabelTable,
    assign,
    image_of,
    read_labels,
)
from didgen.manifests.sources.records import CLASSES


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines), "utf-8")
    return path


def read(path: Path) -> tuple[LabelTable, Harvest]:
    harvest = Harvest()
    return read_labels(path, harvest), harvest


def labels(found: LabelTable) -> dict[str, str | None]:
    return {row.name: row.label for row in found.rows}


def reasons(harvest: Harvest) -> list[str]:
    return [rejection.reason for rejection in harvest.rejections]


def test_a_one_hot_table_is_read_in_any_column_order(tmp_path: Path) -> None:
    columns = [name.lower() for name in CLASSES[::-1]]
    rows = (
        f"x{place}," + ",".join("1.0" if label == hot.lower() else "0.0" for label in columns)
        for place, hot in enumerate(CLASSES)
    )
    found, harvest = read(table(tmp_path, "image," + ",".join(columns), *rows))
    assert labels(found) == {f"x{place}": label for place, label in enumerate(CLASSES)}
    assert not harvest.rejections


def test_a_plain_table_gives_lesion_patient_and_split(tmp_path: Path) -> None:
    found, _ = read(
        table(
            tmp_path,
            "\ufeffimage, label ,lesion_id,patient_id,split",
            "d/a.JPG,MEL,l1,p1,val",
            "b.c,naevus,,,",
        )
    )
    a, b = found.rows
    assert (a.name, a.folder, a.label) == ("a", ("d",), "MEL")
    assert (a.lesion_id, a.patient_id, a.split) == ("l1", "p1", "val")
    assert (b.name, b.label, b.lesion_id, b.patient_id, b.split) == (
        "b.c",
        "naevus",
        None,
        None,
        None,
    )
    assert b.place.name == "labels.csv line 3"


@pytest.mark.parametrize(
    "header",
    [
        "Image,Label,Lesion_ID,Patient ID,Split",
        "image_id,dx,lesion id,PatientID,set",
        "FILENAME,Class,lesion,patient,Subset",
        "isic id,diagnosis,LESION-ID,subject.id,partition",
    ],
)
def test_columns_are_known_in_any_writing(tmp_path: Path, header: str) -> None:
    found, _ = read(table(tmp_path, header, "a,MEL,l1,p1,Validation"))
    (row,) = found.rows
    assert (row.name, row.label, row.lesion_id) == ("a", "MEL", "l1")
    assert (row.patient_id, row.split) == ("p1", "val")
    assert "not used" not in found.sentence


@pytest.mark.parametrize(
    ("written", "split"),
    [("Train", "train"), ("TRAINING", "train"), ("valid", "val"), (" Testing", "test")],
)
def test_splits_are_known_by_their_usual_names(tmp_path: Path, written: str, split: str) -> None:
    found, _ = read(table(tmp_path, "image,label,split", f"a,MEL,{written}"))
    assert found.rows[0].split == split


def test_what_was_used_and_what_was_not_is_told(tmp_path: Path) -> None:
    found, _ = read(table(tmp_path, ",image_id,dx,age,Lesion No", "0,a,mel,40,7"))
    assert "image_id as image, dx as label" in found.sentence
    assert "not used: age, Lesion No (Lesion No has to be named lesion_id" in found.sentence


def test_the_first_name_of_a_column_goes_before_others(tmp_path: Path) -> None:
    found, _ = read(table(tmp_path, "image,label,diagnosis", "a,MEL,melanoma in situ"))
    assert labels(found) == {"a": "MEL"} and "not used: diagnosis" in found.sentence
    with pytest.raises(DidgenError, match=r"more than one column for the label, diagnosis, dx"):
        read(table(tmp_path, "image,diagnosis,dx", "a,MEL,nv"))


@pytest.mark.parametrize(
    "nothing", ["", "nan", "NaN", "None", "NA", "n/a", "<NA>", "NULL", "unknown", "?", "-", "NaT"]
)
def test_words_for_nothing_are_nothing(tmp_path: Path, nothing: str) -> None:
    header = "image,label,lesion_id,patient_id,split"
    rows = f"a,MEL,{nothing},{nothing},{nothing}", f"b,{nothing},l,p,"
    found, harvest = read(table(tmp_path, header, *rows))
    (row,) = found.rows
    assert (row.lesion_id, row.patient_id, row.split) == (None, None, None)
    assert found.faulty == {"b"} and reasons(harvest) == ["bad-label"]


def test_codes_are_known_in_any_case_and_numbers_in_pandas_form(tmp_path: Path) -> None:
    rows = "a,mel,7.0", "b,Bcc,7", "c,melanoma,x7.0", "d,1.0,", "e,1,"
    found, _ = read(table(tmp_path, "image,label,lesion_id", *rows))
    assert labels(found) == {"a": "MEL", "b": "BCC", "c": "melanoma", "d": "1", "e": "1"}
    assert [row.lesion_id for row in found.rows] == ["7", "7", "x7.0", None, None]


def test_ham_metadata_hold_codes_alone(tmp_path: Path) -> None:
    path = table(tmp_path, "lesion_id,image_id,dx,age", "HAM_1,ISIC_1,nv,45", "HAM_2,ISIC_2,zz,1")
    found, harvest = read(path)
    assert labels(found) == {"ISIC_1": "NV"}
    assert reasons(harvest) == ["bad-label"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_columns_may_be_parted_otherwise(tmp_path: Path, mark: str) -> None:
    lines = [mark.join(row) for row in (("image", "label", "split"), ("a, b", "MEL", "val"))]
    found, _ = read(table(tmp_path, *lines))
    assert [(row.name, row.label, row.split) for row in found.rows] == [("a, b", "MEL", "val")]
    # Marks in a name are not taken for those between columns.
    named = f'image,label,"age{mark}sex{mark}site{mark}type"'
    found, _ = read(table(tmp_path, named, "a,MEL,1"))
    assert labels(found) == {"a": "MEL"}


def test_paths_of_windows_are_read(tmp_path: Path) -> None:
    found, _ = read(table(tmp_path, "image,label", r"mel\img1.jpg,MEL", r"nv\img2,NV"))
    assert [(row.folder, row.name) for row in found.rows] == [(("mel",), "img1"), (("nv",), "img2")]


@pytest.mark.parametrize(
    "cells", ["1,1,0,0,0,0,0", "0,0,0,0,0,0,0", "0.5,0.5,0,0,0,0,0", "1,x,0,0,0,0,0", "1", "nan"]
)
def test_a_row_that_is_not_one_hot_is_rejected_alone(tmp_path: Path, cells: str) -> None:
    path = table(tmp_path, "image," + ",".join(CLASSES), f"a,{cells}", "b,0,1,0,0,0,0,0")
    found, harvest = read(path)
    assert labels(found) == {"b": "NV"}
    assert found.faulty == {"a"}
    (rejection,) = harvest.rejections
    assert rejection.reason == "bad-label"
    assert "labels.csv line 2" in rejection.sentence


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, "image,MEL,NV,BCC,AKIEC,BKL", "a,1,0,0,0,0")
    with pytest.raises(DidgenError, match=r"labels\.csv has no column DF, VASC; its first line"):
        read(path)
    with pytest.raises(DidgenError, match=r"no column image, label"):
        read(table(tmp_path))
    path = tmp_path / "ISIC_2019_Training_GroundTruth.csv"
    path.write_text("image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n")
    with pytest.raises(DidgenError, match="it is of a public set: didgen import isic2019"):
        read(path)


@given(st.text("aé. -", min_size=1).filter(lambda text: text.strip(".")), st.sampled_from("jJ"))
def test_folder_and_suffix_do_not_matter(stem: str, letter: str) -> None:
    assert image_of(f"some/folder/{stem}.{letter}pg") == (("some", "folder"), stem)


def row(text: str, label: str = "MEL", line: int = 2, **said: str) -> ImageRow:
    folder, name = image_of(text)
    return ImageRow(name, folder, Path(f"t.csv line {line}"), label, **said)  # type: ignore[arg-type]


def assigned(*rows: ImageRow, images: str) -> tuple[dict[str, str | None], Harvest]:
    harvest = Harvest()
    paths = [Path("/d") / name for name in images.split()]
    chosen, _ = assign(rows, paths, {Path("/d/t.tif"): "TIFF"}, harvest)
    return {str(path.relative_to("/d")): one.label for path, one in chosen.items()}, harvest


def test_rows_of_one_image_that_say_the_same_count_once() -> None:
    chosen, harvest = assigned(row("a"), row("a.jpg", line=3), images="a.jpg")
    assert chosen == {"a.jpg": "MEL"} and reasons(harvest) == ["duplicate-id"]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"label": "NV"}, "the class MEL by t.csv line 2 and NV by t.csv line 3"),
        ({"lesion_id": "l2"}, "the lesion l1 by t.csv line 2 and l2"),
        ({"split": "test"}, "the split none by t.csv line 2 and test"),
    ],
)
def test_rows_that_contradict_each_other_leave_the_image_out(
    other: dict[str, str], told: str
) -> None:
    second = {"label": "MEL", "lesion_id": "l1"} | other
    chosen, harvest = assigned(row("a", lesion_id="l1"), row("a", line=3, **second), images="a.jpg")
    assert chosen == {} and reasons(harvest) == ["contradiction"]
    assert told in harvest.rejections[0].sentence
    assert harvest.labels.keys() == {"MEL", second["label"]}


def test_rows_find_namesakes_by_their_folders() -> None:
    rows = row("mel/1.png"), row(r"C:\\x\\nev\\1.png", "NV"), row("2.png")
    chosen, harvest = assigned(*rows, images="mel/1.png nev/1.png nev/2.png")
    assert chosen == {"mel/1.png": "MEL", "nev/1.png": "NV", "nev/2.png": "MEL"}
    assert not harvest.rejections
    # Which of the two is meant is not told.
    chosen, harvest = assigned(row("1.png"), images="mel/1.png nev/1.png")
    assert chosen == {} and reasons(harvest) == ["duplicate-id"] * 3
    # The image of another folder is not taken for one that is not there.
    chosen, harvest = assigned(row("mel/1.png"), images="mel/2.png nev/1.png")
    assert chosen == {} and reasons(harvest) == ["missing-image"]


def test_a_row_that_names_another_format_is_told_so() -> None:
    _, harvest = assigned(row("t.tif"), row("gone.jpg", line=3), images="a.jpg")
    assert "t.tif, which is TIFF and not read" in harvest.rejections[0].sentence
    assert "there is no such image" in harvest.rejections[1].sentence


def test_names_match_in_any_case_where_none_matches_as_it_is() -> None:
    chosen, _ = assigned(row("ISIC_1"), row("b", "NV"), images="isic_1.jpg B.jpg b.jpg")
    assert chosen == {"isic_1.jpg": "MEL", "b.jpg": "NV"}
