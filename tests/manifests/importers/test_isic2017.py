"""Tests of importing ISIC 2017, on a small tree of the form that it ships in."""

from collections import Counter
from pathlib import Path

from tests.contracts.public_set import PublicSetContract, Rows, by_label, photo, table
from tests.fixtures.pictures import write_box


class TestIsic2017(PublicSetContract):
    name = "isic2017"
    masks_are_truth = True

    def write(self, folder: Path) -> None:
        for part, first, count in (("Training", 0, 12), ("Validation", 20, 3), ("Test_v2", 30, 3)):
            rows: Rows = [["image_id", "melanoma", "seborrheic_keratosis"]]
            for number in range(first, first + count):
                name = f"ISIC_{number:07}"
                photo(folder / f"ISIC-2017_{part}_Data" / f"{name}.jpg")
                photo(folder / f"ISIC-2017_{part}_Data" / f"{name}_superpixels.png")
                masks = folder / f"ISIC-2017_{part}_Part1_GroundTruth"
                write_box(masks / f"{name}_segmentation.png")
                rows.append([name, float(number % 3 == 0), float(number % 3 == 1)])
            table(folder / f"ISIC-2017_{part}_Part3_GroundTruth.csv", *rows)

    def test_three_diagnoses_and_masks(self, collection: Path) -> None:
        records = self.importing(collection).manifest.records
        assert by_label(records) == {"MEL": 6, "BKL": 6, "NV": 6}
        assert all(r.mask and r.licence == "CC0-1.0" for r in records)
        held_out = Counter(r.split for r in records if r.key >= "ISIC_0000020")
        assert held_out == {"val": 3, "test": 3}
