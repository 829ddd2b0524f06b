"""Tests of importing ISIC 2016, on a small tree of the form that it ships in."""

import shutil
from pathlib import Path

from tests.contracts.public_set import PublicSetContract, by_label, photo, table
from tests.fixtures.pictures import write_box


class TestIsic2016(PublicSetContract):
    name = "isic2016"
    masks_are_truth = True

    def write(self, folder: Path) -> None:
        for part, first, count in (("Training", 0, 12), ("Test", 20, 4)):
            names = [f"ISIC_{number:07}" for number in range(first, first + count)]
            truth = f"_{part}_GroundTruth"
            for name in names:
                photo(folder / f"ISBI2016_ISIC_Part1_{part}_Data" / f"{name}.jpg")
                write_box(folder / f"ISBI2016_ISIC_Part1{truth}" / f"{name}_Segmentation.png")
            words = ("benign", "malignant") if part == "Training" else ("0.0", "1.0")
            rows = [[name, words[place % 2]] for place, name in enumerate(names)]
            table(folder / f"ISBI2016_ISIC_Part3{truth}.csv", *rows)

    def test_masks_and_malignancy_are_of_one_image(self, collection: Path) -> None:
        for part in ("Training", "Test"):
            first = collection / f"ISBI2016_ISIC_Part1_{part}_Data"
            shutil.copytree(first, collection / f"ISBI2016_ISIC_Part3_{part}_Data")
        result = self.importing(collection)
        assert result.rejections == ()
        records = result.manifest.records
        assert by_label(records) == {"benign": 8, "MEL": 8}
        assert all(r.mask and r.licence == "CC0-1.0" for r in records)
        assert [r.split for r in records if r.key >= "ISIC_0000020"] == ["test"] * 4
        assert result.manifest.header.classes == ("MEL", "benign")
        assert any("16 files are second copies" in note for note in result.notes)

    def test_part_3b_holds_images_and_masks_in_one_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "ISBI2016_ISIC_Part3B_Training_Data"
        rows = []
        for number in range(4):
            photo(folder / f"ISIC_{number}.jpg")
            write_box(folder / f"ISIC_{number}_Segmentation.png")
            rows.append([f"ISIC_{number}", ("benign", "malignant")[number % 2]])
        table(tmp_path / "ISBI2016_ISIC_Part3B_Training_GroundTruth.csv", *rows)
        result = self.importing(tmp_path)
        assert result.rejections == ()
        assert len(result.manifest.select(labelled=True, masked=True)) == 4
