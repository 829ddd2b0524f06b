"""Tests of importing ISIC 2020, on a small tree of the form that it ships in."""

from pathlib import Path

from tests.contracts.public_set import PublicSetContract, Rows, by_label, photo, table

WORDS = ["melanoma", "nevus", "seborrheic keratosis", "lentigo NOS"]
FILE = "ISIC_2020_Training_GroundTruth_v2.csv"


class TestIsic2020(PublicSetContract):
    name = "isic2020"

    def write(self, folder: Path) -> None:
        rows: Rows = [["image_name", "patient_id", "lesion_id"]]
        rows[0] += ["diagnosis", "benign_malignant", "target"]
        for number in range(36):
            name, word = f"ISIC_{number:07}", WORDS[number // 3 % 4]
            photo(folder / "train" / f"{name}.jpg")
            kind = "malignant" if word == "melanoma" else "benign"
            group = [f"IP_{number // 3:07}", f"IL_{number:07}"]
            rows.append([name, *group, word, kind, int(word == "melanoma")])
        table(folder / FILE, *rows)

    def test_lesions_without_a_diagnosis_are_benign_or_left_out(self, collection: Path) -> None:
        photo(collection / "train" / "ISIC_0000099.jpg")
        photo(collection / "test" / "ISIC_0000199.jpg")
        with open(collection / FILE, "a") as file:
            file.write("ISIC_0000099,IP_0000000,IL_0000099,unknown,benign,0\n")
        result = self.importing(collection)
        assert by_label(result.manifest.records) == {"MEL": 9, "NV": 9, "BKL": 18}
        (rejection,) = result.rejections
        assert rejection.reason == "other-label"
        assert "is unknown by" in rejection.sentence and "--by malignancy" in rejection.sentence
        assert result.label_map["unknown", None] == 1
        assert len({r.patient_id for r in result.manifest.records}) == 12
        assert all(r.lesion_id.startswith("IL_") for r in result.manifest.records)
        assert any("1 images are of no part" in note for note in result.notes)
        result = self.importing(collection, by="malignancy")
        assert by_label(result.manifest.records) == {"MEL": 9, "benign": 28}
        assert result.rejections == ()

    def test_as_kaggle_ships_it(self, collection: Path) -> None:
        (collection / "jpeg").mkdir()
        (collection / "train").rename(collection / "jpeg" / "train")
        rows = [line.split(",") for line in (collection / FILE).read_text().splitlines()]
        (collection / FILE).unlink()
        table(collection / "train.csv", *([*row[:2], *row[3:]] for row in rows))
        records = self.importing(collection, by="malignancy").manifest.records
        assert len(records) == 36
        assert [r.lesion_id for r in records] == [r.key for r in records]
        assert len({r.patient_id for r in records}) == 12
