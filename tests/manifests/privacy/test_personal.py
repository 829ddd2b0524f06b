"""Tests of personal names: what looks like a person is said, and a number of an archive is not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.privacy.personal import kind_of, personal_names
from tests.fixtures.sources import manifest_of, record


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "date",
            "1987-03-12 12.03.1987 3-12-1987 19870312 IMG_20210506_121314 12mar1987 x_2021.05.6",
        ),
        ("person", "mueller_anna Anna_Mueller MuellerAnna Garcia_Lopez garcia-jose ANNA"),
        ("number", "MRN123456 PAT_1516_1765_530 7654321 patient12 id-00123 fall_2231 x_123456"),
        (
            None,
            """ISIC_0000001 ISIC_0024306_downsampled HAM_0001234 IMG_1234 DSC_0001 img_001 000123 p0
            lesion-1 L0 img1234567 Left_Arm_Lesion Spitz-Nevus MEL Basal_Cell pair-000001 2021
            0a1234567b89cdef real-1234567890123456 melanoma-in-situ Clark_Nevus photo_2021""",
        ),
    ],
)
def test_names_are_told_apart(kind: str | None, names: str) -> None:
    assert {name: kind_of(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


@given(st.text(max_size=40))
def test_any_name_can_be_looked_at(name: str) -> None:
    kind_of(name)


def test_images_are_counted_once_and_the_option_is_named() -> None:
    source = manifest_of(
        Path(),
        record("a", lesion_id="Mueller, Anna", image="x/1987-03-12.jpg"),
        record("b", lesion_id="MRN 123456"),
        record("c"),
    )
    found = personal_names(source)
    assert found is not None
    assert found.sentence() == (
        "2 images have a file name, lesion id, class or folder that looks like a date (1), "
        "a patient's or record's number (1); the first is 1987-03-12. Give `--pseudonymise` to "
        "`didgen mix` and `didgen export` before you share them; classes keep their names."
    )
    assert personal_names(manifest_of(Path(), record("ISIC_0000001"))) is None
    folder = personal_names(manifest_of(Path(), record("a", source="Anna Mueller")))
    assert folder is not None and folder.kinds == {"person": 1}
