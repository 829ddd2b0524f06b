"""Tests of importing PH2, on a small tree of the form that it ships in."""

from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.licence import known_licence
from tests.contracts.public_set import PublicSetContract, by_label, photo
from tests.fixtures.pictures import write_box


class TestPh2(PublicSetContract):
    name = "ph2"

    def write(self, folder: Path) -> None:
        lines = ["||   Name   || Histological Diagnosis || Clinical Diagnosis || Asymmetry ||"]
        for number in range(15):
            name = f"IMD{number:03}"
            case = folder / "PH2Dataset" / "PH2 Dataset images" / name
            photo(case / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
            write_box(case / f"{name}_lesion" / f"{name}_lesion.bmp")
            write_box(case / f"{name}_roi" / f"{name}_R1_Label1.bmp")
            lines.append(f"|| {name} ||                ||     {number % 3}     ||  0  ||")
        lines += ["", "Legends: Clinical Diagnosis: 0 - Common Nevus; 2 - Melanoma"]
        (folder / "PH2Dataset" / "PH2_dataset.txt").write_text("\n".join(lines))

    def test_nevi_and_melanomas_with_masks(self, collection: Path) -> None:
        result = self.importing(collection)
        records = result.manifest.records
        assert by_label(records) == {"NV": 10, "MEL": 5}
        assert all(record.mask for record in records)
        assert known_licence(records[0].licence) is None
        assert "no redistribution" in records[0].licence
        assert result.label_map["atypical nevus", "NV"] == 5

    def test_a_table_of_another_form_is_told(self, collection: Path) -> None:
        (collection / "PH2Dataset" / "PH2_dataset.txt").write_text("Name;Diagnosis\n")
        with pytest.raises(DidgenError, match=r"PH2_dataset\.txt has no line of an image"):
            self.importing(collection)
