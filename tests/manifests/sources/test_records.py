"""Tests of source records and of the manifest that lists them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import (
    CLASS_NAMES,
    CLASSES,
    SourceManifest,
    SourceRecord,
    summary,
)
from tests.fixtures.pictures import write_picture
from tests.fixtures.sources import manifest_of, record


def manifest(root: Path, *records: SourceRecord) -> SourceManifest:
    return manifest_of(root, *records, classes=CLASSES)


def test_the_seven_classes_have_names() -> None:
    assert CLASSES == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    assert set(CLASS_NAMES) == set(CLASSES)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "a.b"),
        ("key", ""),
        ("key", "a" * 101),
        ("key", "a\n"),
        ("key", "é"),
        ("image", "../a.jpg"),
        ("image", "/a.jpg"),
        ("mask", "a/../../b.png"),
        ("width", 0),
        ("width", "6"),
        ("sha256", "0" * 63),
        ("sha256", "G" * 64),
        ("label", "a/b"),
        ("label", ".."),
        ("label", "unlabelled"),
        ("label", ""),
        ("lesion_id", "a\tb"),
        ("split", "dev"),
        ("caption", "two\nlines"),
        ("caption", "two\u2028lines"),
        ("caption", "x" * 1001),
        ("caption", "\ud800"),
        ("colour", "red"),
    ],
)
def test_wrong_fields_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        SourceRecord.model_validate(record().model_dump() | {field: value})


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=20))
def test_a_caption_that_is_accepted_stays_one_line_of_json(caption: str) -> None:
    try:
        made = record(caption=caption)
    except ValidationError:
        return
    assert len(caption.splitlines()) == 1
    line = json.dumps(made.model_dump(mode="json"), ensure_ascii=False)
    assert len(line.encode().splitlines()) == 1
    assert SourceRecord.model_validate(json.loads(line)) == made


def test_a_manifest_comes_back_as_written_and_byte_for_byte(tmp_path: Path) -> None:
    made = manifest(tmp_path, record("a", caption="é"), record("b", label="MEL", mask="m/b.png"))
    made.write(tmp_path / "one")
    read = SourceManifest.read(tmp_path / "one")
    assert read == made
    read.write(tmp_path / "two")
    for name in ("source.json", "records.jsonl"):
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_a_write_cut_short_leaves_no_mark(tmp_path: Path) -> None:
    manifest(tmp_path, record("a")).write(tmp_path)
    (tmp_path / "records.jsonl").unlink()
    (tmp_path / "records.jsonl").mkdir()
    with pytest.raises(OSError, match="directory"):
        manifest(tmp_path, record("b")).write(tmp_path)
    with pytest.raises(DidgenError, match=r"holds no source\.json; make it with `didgen import`"):
        SourceManifest.read(tmp_path)


def test_select_takes_all_conditions_at_once(tmp_path: Path) -> None:
    made = manifest(
        tmp_path,
        record("a"),
        record("b", label="MEL", split="val"),
        record("c", mask="c.png"),
        record("d", label="NV", mask="d.png"),
    )

    def keys(**conditions: Any) -> str:
        return "".join(record.key for record in made.select(**conditions))

    assert keys() == "abcd"
    assert keys(split="val") == "b"
    assert keys(labelled=True) == "bd"
    assert keys(masked=False) == "ab"
    assert keys(labelled=False, masked=True) == "c"
    assert keys(split="test") == ""


def test_paths_join_the_root(tmp_path: Path) -> None:
    made = manifest(tmp_path, record("a", mask="masks/a.png"), record("b"))
    first, second = made.records
    assert made.image_path(first) == tmp_path / "a.png"
    assert made.mask_path(first) == tmp_path / "masks/a.png"
    with pytest.raises(DidgenError, match="b has no mask"):
        made.mask_path(second)


def spoil(folder: Path, line: int, **changes: object) -> None:
    path = folder / "records.jsonl"
    rows = [json.loads(row) for row in path.read_text("utf-8").splitlines()]
    rows[line - 1] |= changes
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "a"}, "the key a stands twice"),
        ({"label": "XYZ"}, "the label XYZ is none of the classes"),
        ({"image": "../../x.jpg"}, "`image` is wrong .leaves the folder"),
        ({"width": -1}, "`width` is wrong"),
        ({"colour": 1}, "`colour` is wrong"),
    ],
)
def test_reading_names_file_line_and_field(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    manifest(tmp_path, record("a"), record("b")).write(tmp_path)
    spoil(tmp_path, 2, **changes)
    with pytest.raises(DidgenError, match=rf"records\.jsonl line 2: {words}") as caught:
        SourceManifest.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_row_that_is_no_object_is_named(tmp_path: Path) -> None:
    manifest(tmp_path, record("a")).write(tmp_path)
    (tmp_path / "records.jsonl").write_text("[1]\n")
    with pytest.raises(DidgenError, match=r"line 1: `the whole` is wrong"):
        SourceManifest.read(tmp_path)


def test_wrong_headers_are_named(tmp_path: Path) -> None:
    manifest(tmp_path, record("a")).write(tmp_path)
    path = tmp_path / "source.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps(header | {"format": 2}))
    with pytest.raises(DidgenError, match=r"source\.json: `format` is wrong"):
        SourceManifest.read(tmp_path)
    path.write_text(json.dumps(header | {"root": str(tmp_path / "moved")}))
    with pytest.raises(DidgenError, match=r"moved, which does not exist; import again or correct"):
        SourceManifest.read(tmp_path)


def test_summary_counts_every_class_and_split(tmp_path: Path) -> None:
    made = manifest(
        tmp_path,
        record("a", label="MEL", lesion_id="x"),
        record("b", label="MEL", lesion_id="x", mask="b.png"),
        record("c", mask="c.png", split="test"),
    )
    rows = {(row.label, row.split): row for row in summary(made)}
    assert len(rows) == 3 * (7 + 1)
    mel = rows["MEL", "train"]
    assert (mel.images, mel.pairs, mel.lesions) == (2, 1, 1)
    assert rows["unlabelled", "test"].pairs == 1
    assert sum(row.images for row in rows.values()) == 3
    assert len(summary(manifest(tmp_path, record("a", label="NV")))) == 3 * 7


def test_the_unit_of_statistics_is_the_patient_where_known() -> None:
    assert record(lesion_id="L").unit == "L"
    assert record(lesion_id="L", patient_id="P").unit == "P"


def test_a_record_without_the_newer_fields_is_read() -> None:
    fields = record().model_dump()
    for name in ("patient_id", "mask_orientation", "mask_inverted"):
        del fields[name]
    assert SourceRecord.model_validate(fields) == record()


def test_a_mask_is_read_as_it_was_drawn(tmp_path: Path) -> None:
    drawn = np.zeros((4, 6), bool)
    drawn[0, :2] = True
    write_picture(tmp_path / "m.png", drawn)
    made = manifest(tmp_path)
    plain, along, inverted = (
        record(mask="m.png", **fields)
        for fields in ({}, {"mask_orientation": 6}, {"mask_inverted": True})
    )
    np.testing.assert_array_equal(made.read_mask(plain), drawn)
    np.testing.assert_array_equal(made.read_mask(along), np.rot90(drawn, -1))
    np.testing.assert_array_equal(made.read_mask(inverted), ~drawn)
    digests = [made.mask_digest(one) for one in (plain, along, inverted)]
    assert len({*digests}) == 3 and len({digest[:64] for digest in digests}) == 1


def test_importers_do_not_import_torch() -> None:
    code = (
        "import sys; from didgen.manifests.importers import folder, isic2018; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
