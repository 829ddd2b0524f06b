"""Tests of reading a folder: what is an image, what is of another format, what is passed by."""

from pathlib import Path
from typing import Any

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.finding.trees import Names
from didgen.manifests.importers.folder import import_folder
from tests.fixtures.pictures import write_noise

FOREIGN = {
    "a.tif": "TIFF",
    "b.TIFF": "TIFF",
    "c.gif": "GIF",
    "d.dcm": "DICOM",
    "e.HEIC": "HEIC",
    "f.heif": "HEIC",
    "g.avif": "AVIF",
    "h.nef": "raw",
    "i.jp2": "JPEG 2000",
}


def test_pictures_of_other_formats_are_counted_and_named(tmp_path: Path) -> None:
    write_noise(tmp_path / "one.jpg", 1)
    for name in FOREIGN:
        (tmp_path / name).write_bytes(b"x")
    # DICOM's files often have no ending, or one that is part of a number.
    for name in ("IM0001", "1.2.840.55"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "IMG").write_bytes((tmp_path / "one.jpg").read_bytes())
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "README").write_text("x")
    (tmp_path / "Thumbs.db").write_text("x")
    result = import_folder(tmp_path, licence="own")
    assert [r.key for r in result.manifest.records] == ["one"]
    told = {Path(r.file).name: r.sentence for r in result.rejections}
    assert {r.reason for r in result.rejections} == {"other-format"}
    assert told.keys() == {*FOREIGN, "IM0001", "1.2.840.55", "IMG"}
    for name, form in FOREIGN.items():
        assert f"is {form}, which is not read; save it as PNG" in told[name]
    assert "add that to its name" in told["IMG"]
    assert any("3 DICOM, 1 GIF" in note and "2 TIFF" in note for note in result.notes)
    assert "Files that are no images, passed by: 1 no ending, 1 txt." in result.notes


def test_a_row_that_names_another_format_is_told_so(tmp_path: Path) -> None:
    write_noise(tmp_path / "own" / "a.jpg", 1)
    (tmp_path / "own" / "b.tif").write_bytes(b"II*\0")
    (tmp_path / "own" / "c.dcm").write_bytes(b"x")
    (tmp_path / "t.csv").write_text("image,label\na,MEL\nb.tif,MEL\nc,MEL\nd,MEL\n")
    result = import_folder(tmp_path / "own", labels=tmp_path / "t.csv", licence="own")
    told = {Path(r.file).name: r.sentence for r in result.rejections}
    assert "b.tif, which is TIFF and not read" in told["t.csv line 3"]
    assert "c.dcm, which is DICOM and not read" in told["t.csv line 4"]
    assert "no such image" in told["t.csv line 5"]


def test_a_folder_of_other_formats_alone_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"x")
    with pytest.raises(DidgenError, match=r"holds no image .*, but 1 of TIFF; save them as PNG"):
        import_folder(tmp_path, licence="own")


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".JPEG", ".jfif", ".Png", ".WEBP"])
def test_endings_are_known_in_any_case(tmp_path: Path, suffix: str) -> None:
    saved: dict[str, Any] = {"format": "JPEG"} if suffix == ".jfif" else {}
    write_noise(tmp_path / f"a{suffix}", 1, **saved)
    assert len(import_folder(tmp_path, licence="own").manifest.records) == 1


def test_a_table_in_the_folder_is_pointed_at(tmp_path: Path) -> None:
    write_noise(tmp_path / "a.png", 1)
    (tmp_path / "labels.csv").write_text("image,label\na,MEL\n")
    notes = import_folder(tmp_path, licence="own").notes
    assert any("labels.csv: give a table of labels with --labels" in note for note in notes)
    result = import_folder(tmp_path, labels=tmp_path / "labels.csv", licence="own")
    assert not any("csv" in note and "passed by" in note for note in result.notes)


def test_names_are_told_apart_by_their_folders() -> None:
    paths = [Path("/d/train/images/1.png"), Path("/d/test/images/1.png"), Path("/d/2.png")]
    names = Names(paths)
    assert names.find("1") == paths[:2]
    assert names.find("1", ("train", "masks")) == paths[:1]
    assert names.find("1", ("test_masks",)) == paths[1:2]
    assert names.find("2", ("anything",)) == paths[2:]
    assert names.find("2", ("x", "train")) == []
    assert names.find("3") == []
