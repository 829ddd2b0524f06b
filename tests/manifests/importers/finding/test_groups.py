"""Tests of groups: patients and lesions in one split each, and names that are nearly one."""

from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import, ImportOptions
from didgen.manifests.importers.folder import import_folder
from didgen.manifests.provenance.trained_on import TrainedOn
from tests.fixtures.pictures import write_noise


def tabled(root: Path, header: str, *rows: str, options: ImportOptions | None = None) -> Import:
    """Import images of noise named as the first cell of each row, by a table of these rows."""
    for number, row in enumerate(rows):
        write_noise(root / "own" / f"{row.partition(',')[0]}.png", number)
    (root / "t.csv").write_text("\n".join([header, *rows]))
    return import_folder(root / "own", labels=root / "t.csv", licence="own", options=options)


def splits(result: Import, unit: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for record in result.manifest.records:
        found.setdefault(str(getattr(record, unit)), set()).add(record.split)
    return found


def test_a_patient_is_in_one_split_with_all_lesions(tmp_path: Path) -> None:
    rows = [f"i{n},MEL,l{n // 2},p{n // 6}" for n in range(60)]
    result = tabled(tmp_path, "image,label,Lesion_ID,Patient ID", *rows)
    for unit in ("patient_id", "lesion_id"):
        assert all(len(found) == 1 for found in splits(result, unit).values())
    assert len(splits(result, "patient_id")) == 10
    assert {record.split for record in result.manifest.records} == {"train", "val", "test"}
    assert {record.unit for record in result.manifest.records} == {f"p{n}" for n in range(10)}


def test_a_lesion_has_one_patient_by_any_of_its_rows(tmp_path: Path) -> None:
    rows = "a,MEL,l1,p1", "b,MEL,l1,", "c,NV,l2,", "d,NV,,p1", "e,NV,,"
    result = tabled(tmp_path, "image,label,lesion_id,patient_id", *rows)
    found = {r.key: (r.lesion_id, r.patient_id) for r in result.manifest.records}
    assert found == {
        "a": ("l1", "p1"),
        "b": ("l1", "p1"),
        "c": ("l2", None),
        "d": ("d", "p1"),
        "e": ("e", None),
    }
    assert len({record.split for record in result.manifest.records if record.unit == "p1"}) == 1


def test_lesion_ids_of_several_patients_are_a_lesion_of_each(tmp_path: Path) -> None:
    rows = "a,MEL,1,p1", "b,MEL,1,p2", "c,MEL,2,p2", "d,MEL,1,"
    result = tabled(tmp_path, "image,label,lesion_id,patient_id", *rows)
    assert [r.lesion_id for r in result.manifest.records] == ["1 of p1", "1 of p2", "2"]
    assert [r.reason for r in result.rejections] == ["missing-patient"]
    assert any(note.startswith("1 lesion ids are of several patients (1)") for note in result.notes)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a,MEL,l1,,train", "b,MEL,l1,,test"], r"gives the lesion l1 to train \(.*a\.png\) and t"),
        (["a,MEL,l1,p1,train", "b,MEL,l2,p1,test"], "gives the patient p1 to train"),
        (["a,MEL,l1,p1,train", "b,MEL,l1,,val"], "gives the patient p1 to train"),
        (
            ["a,MEL,l1,,train", "b,MEL,l1,,test", "c,MEL,,p1,val", "d,MEL,,p1,test"],
            "2 are so: the lesion l1, the patient p1; give each one split",
        ),
    ],
)
def test_given_splits_that_tear_a_group_are_refused(
    tmp_path: Path, rows: list[str], told: str
) -> None:
    with pytest.raises(DidgenError, match=told):
        tabled(tmp_path, "image,label,lesion id,patient_id,Split", *rows)


def test_given_splits_are_kept_and_draw_their_groups_along(tmp_path: Path) -> None:
    rows = "a,MEL,l1,p1,test", "b,MEL,l2,p1,", "c,NV,l3,,val", "d,NV,l3,,"
    result = tabled(tmp_path, "image,label,lesion_id,patient_id,set", *rows)
    assert [r.split for r in result.manifest.records] == ["test", "test", "val", "val"]


def test_a_patient_that_a_model_knows_trains_whole(tmp_path: Path) -> None:
    rows = [f"i{n},MEL,l{n},p{n // 4}" for n in range(40)]
    first = tabled(tmp_path, "image,label,lesion_id,patient_id", *rows)
    held_out = next(r for r in first.manifest.records if r.split == "test")
    model = ("m", TrainedOn.of([held_out]))
    options = ImportOptions(for_models=[model])
    result = tabled(tmp_path, "image,label,lesion_id,patient_id", *rows, options=options)
    assert splits(result, "patient_id")[str(held_out.patient_id)] == {"train"}


@pytest.mark.parametrize(
    "pair",
    [
        ("Nevus", "nevus"),
        ("basal cell", "Basal  Cell"),
        ("basal cell", "basal_cell"),
        ("MEL", "\u041cEL"),  # a Cyrillic M
    ],
)
def test_classes_that_differ_by_writing_alone_are_refused(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    with pytest.raises(DidgenError, match=r"has the classes .* and .*differ by case, spaces"):
        tabled(tmp_path, "image,label", f"a,{pair[0]}", f"b,{pair[1]}")
    for number, name in enumerate(pair):
        write_noise(tmp_path / "folders" / name / "x.png", number)
    with pytest.raises(DidgenError, match=r"has the classes .* and .*differ by case, spaces"):
        import_folder(tmp_path / "folders", licence="own")


def test_codes_in_two_cases_are_one_class(tmp_path: Path) -> None:
    result = tabled(tmp_path, "image,label", "a,MEL", "b,mel", "c,Nv", "d,nv")
    assert [r.label for r in result.manifest.records] == ["MEL", "MEL", "NV", "NV"]


def test_numbers_as_classes_are_one_in_any_form_and_warned_of(tmp_path: Path) -> None:
    result = tabled(tmp_path, "image,label", "a,0", "b,0.0", "c,1.0", "d,1")
    assert [r.label for r in result.manifest.records] == ["0", "0", "1", "1"]
    assert any("the classes 0, 1 are numbers" in note for note in result.notes)


@pytest.mark.parametrize("column", ["lesion_id", "patient_id"])
def test_ids_that_differ_by_writing_alone_are_refused(tmp_path: Path, column: str) -> None:
    with pytest.raises(DidgenError, match="whose ids differ by case, spaces"):
        tabled(tmp_path, f"image,label,{column}", "a,MEL,L1", "b,MEL,l1")


@pytest.mark.parametrize("nothing", ["nan", "unknown", "None", "NA", "", "?"])
def test_no_lesion_or_patient_is_named_nothing(tmp_path: Path, nothing: str) -> None:
    rows = [f"i{n},MEL,{nothing},{nothing}" for n in range(10)]
    result = tabled(tmp_path, "image,label,lesion_id,patient_id", *rows)
    assert {r.split for r in result.manifest.records} == {"train", "val", "test"}
    assert [r.lesion_id for r in result.manifest.records] == [f"i{n}" for n in range(10)]
    assert {r.patient_id for r in result.manifest.records} == {None}


@pytest.mark.parametrize("name", ["nan", "NaN", "unknown", "None"])
def test_folders_named_nothing_are_no_class(tmp_path: Path, name: str) -> None:
    for number, folder in enumerate(("MEL", name)):
        write_noise(tmp_path / folder / f"{number}.png", number)
    result = import_folder(tmp_path, licence="own")
    assert [r.label for r in result.manifest.records] == ["MEL"]
    assert [r.reason for r in result.rejections] == ["missing-label"]
