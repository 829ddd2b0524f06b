"""Tests of reading CSV files: what is parted how, and rows that cannot be trusted."""

from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.finding.tables import RawTable, read_table

KNOWN = ("image", "label", "lesion_id")


def read(tmp_path: Path, *lines: str, encoding: str = "utf-8") -> RawTable:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines), encoding)
    return read_table(path, KNOWN)


def cells(found: RawTable) -> list[list[str]]:
    return [[row.get(name) for name in KNOWN] for row in found.rows]


def test_a_row_of_surplus_cells_is_rejected(tmp_path: Path) -> None:
    rows = "p0,melanoma, in situ,L0", 'p1,"melanoma, in situ",L1', "p2,nevus,L2,,"
    found = read(tmp_path, "image,label,lesion_id", *rows)
    assert cells(found) == [["p1", "melanoma, in situ", "L1"], ["p2", "nevus", "L2"]]
    (rejection,) = found.rejections
    assert rejection.reason == "bad-row"
    assert "t.csv line 2 has 4 cells under 3 columns" in rejection.sentence


def test_spaces_after_commas_are_no_part_of_cells(tmp_path: Path) -> None:
    found = read(tmp_path, '"image", "label", "lesion_id"', '"p0", "MEL", "L, 0"', "p1, NV , L1")
    assert cells(found) == [["p0", "MEL", "L, 0"], ["p1", "NV", "L1"]]


@pytest.mark.parametrize("header", ["image,label,label", "image,Label,label ", "image,a b,A_B"])
def test_a_column_named_twice_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DidgenError, match=r"t\.csv has the column .* more than once; give each"):
        read(tmp_path, header, "a,MEL,NV")


def test_an_open_quotation_mark_swallows_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match=r"t\.csv is not CSV .*close every quotation mark"):
        read(tmp_path, "image,label", 'a,"MEL', "b,NV", "c,NV")
    with pytest.raises(DidgenError, match=r"t\.csv is not CSV"):
        read(tmp_path, "image,label", 'a,"MEL', 'b,"NV"')


def test_short_rows_and_empty_lines_are_no_fault(tmp_path: Path) -> None:
    found = read(tmp_path, "image,label,lesion_id", "a,MEL", "", " ,", "b,NV,l")
    assert cells(found) == [["a", "MEL", ""], ["b", "NV", "l"]]
    assert [row.place.name for row in found.rows] == ["t.csv line 2", "t.csv line 5"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_spreadsheets_write_are_read(tmp_path: Path, encoding: str) -> None:
    found = read(tmp_path, "image;label;lesion_id", "é;MEL;1", encoding=encoding)
    assert cells(found) == [["é", "MEL", "1"]]


def test_unreadable_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match=r"gone\.csv does not exist; restore it"):
        read_table(tmp_path / "gone.csv", KNOWN)
    path = tmp_path / "t.csv"
    path.write_bytes(b"image,label\n\xff\xe9,MEL\n")
    with pytest.raises(DidgenError, match=r"t\.csv is not UTF-8 CSV"):
        read_table(path, KNOWN)


def test_a_file_without_a_line_of_names_is_read_by_a_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,benign\nb,malignant\n")
    found = read_table(path, KNOWN, header=("image", "label"))
    assert [[row.get("image"), row.get("label")] for row in found.rows] == [
        ["a", "benign"],
        ["b", "malignant"],
    ]
