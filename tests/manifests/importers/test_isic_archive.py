"""Tests of importing images of the ISIC archive with the table of isic-cli."""

from collections import Counter
from pathlib import Path

from didgen.manifests.provenance.licence import known_licence
from tests.contracts.public_set import PublicSetContract, Rows, by_label, photo, table

WORDS = [
    ("Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma in situ"),
    ("Benign", "Benign melanocytic proliferations", "Nevus"),
    ("Benign", "Benign epidermal proliferations", "Seborrheic keratosis"),
    ("Indeterminate", "Indeterminate epidermal proliferations", "Solar or actinic keratosis"),
]


class TestIsicArchive(PublicSetContract):
    name = "isic-archive"

    def write(self, folder: Path) -> None:
        rows: Rows = [["isic_id", "attribution", "copyright_license", "diagnosis_1"]]
        rows[0] += ["diagnosis_2", "diagnosis_3", "image_type", "lesion_id", "patient_id"]
        for number in range(48):
            name, licence = f"ISIC_{number:07}", ("CC-0", "CC-BY", "CC-BY-NC")[number % 3]
            photo(folder / f"{name}.jpg")
            group = [f"IL_{number // 2:07}", f"IP_{number // 4:07}"]
            rows.append([name, "Somebody", licence, *WORDS[number // 4 % 4], "dermoscopic", *group])
        table(folder / "metadata.csv", *rows)

    def test_licences_patients_and_narrowest_diagnoses(self, collection: Path) -> None:
        further = [
            "CC-0,Benign,Benign soft tissue proliferations,Acrochordon,dermoscopic",
            "CC-0,Benign,,,dermoscopic",
            "CC-0,Benign,,Nevus,clinical: overview",
        ]
        with open(collection / "metadata.csv", "a") as file:
            for number, row in enumerate(further, 90):
                photo(collection / f"ISIC_{number:07}.jpg")
                file.write(f"ISIC_{number:07},Somebody,{row},IL_{number:07},IP_0000000\n")
        result = self.importing(collection)
        records = result.manifest.records
        assert by_label(records) == {"MEL": 12, "NV": 12, "BKL": 12, "AKIEC": 12}
        assert [r.reason for r in result.rejections] == [
            "other-label",
            "missing-label",
            "not-dermoscopic",
        ]
        assert {r.licence for r in records} == {"CC-0", "CC-BY", "CC-BY-NC"}
        assert all(known_licence(r.licence) for r in records)
        assert len({r.patient_id for r in records}) == 12
        result = self.importing(collection, by="malignancy")
        assert by_label(result.manifest.records) == {"malignant": 12, "benign": 26}

    def test_tables_of_one_column_of_diagnoses_are_read(self, tmp_path: Path) -> None:
        rows: Rows = [["isic_id", "benign_malignant", "diagnosis"]]
        for number in range(4):
            photo(tmp_path / f"ISIC_{number}.jpg")
            rows.append([f"ISIC_{number}", "benign", ("nevus", "solar lentigo")[number % 2]])
        table(tmp_path / "metadata.csv", *rows)
        records = self.importing(tmp_path).manifest.records
        assert by_label(records) == {"NV": 2, "BKL": 2}
        assert Counter(r.licence for r in records) == {"unknown (ISIC archive)": 4}
