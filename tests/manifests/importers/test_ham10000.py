"""Tests of importing HAM10000, on a small tree of the form that it ships in."""

import shutil
from pathlib import Path

import pytest

from didgen.manifests.sources.records import CLASSES
from tests.contracts.public_set import PublicSetContract, Rows, by_label, photo, table
from tests.fixtures.pictures import write_box


class TestHam10000(PublicSetContract):
    name = "ham10000"

    def write(self, folder: Path) -> None:
        rows: Rows = [["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]]
        for number in range(42):
            name = f"ISIC_{24306 + number:07}"
            photo(folder / f"HAM10000_images_part_{1 + number // 21}" / f"{name}.jpg")
            code = CLASSES[number // 2 % 7].lower()
            rows.append([f"HAM_{number // 2:07}", name, code, "histo", 50, "male", "back"])
        table(folder / "HAM10000_metadata.csv", *rows)
        table(folder / "hmnist_8_8_L.csv", ["pixel0000", "label"], [1, 2])

    def test_lesions_masks_and_second_copies(self, collection: Path) -> None:
        # Kaggle's archive holds the folders twice.
        for number in (1, 2):
            name = f"HAM10000_images_part_{number}"
            shutil.copytree(collection / name, collection / name.lower())
        for number in range(3):
            name = f"ISIC_{24306 + number:07}_segmentation.png"
            write_box(collection / "HAM10000_segmentations_lesion_tschandl" / name)
        result = self.importing(collection)
        assert result.rejections == ()
        records = result.manifest.records
        assert by_label(records) == dict.fromkeys(CLASSES, 6)
        assert len({r.lesion_id for r in records}) == 21
        assert sum(r.mask is not None for r in records) == 3
        assert any("42 files are second copies" in note for note in result.notes)

    @pytest.mark.parametrize("form", ["dx", "one-hot"])
    def test_the_test_images_by_either_table(self, collection: Path, form: str) -> None:
        photo(collection / "ISIC2018_Task3_Test_Images" / "ISIC_0034524.jpg")
        rows: Rows = [["lesion_id", "image_id", "dx"], ["HAMTEST_1", "ISIC_0034524", "nv"]]
        if form == "one-hot":
            rows = [["image", *CLASSES], ["ISIC_0034524", 0, 1, 0, 0, 0, 0, 0]]
        table(collection / "ISIC2018_Task3_Test_GroundTruth.csv", *rows)
        found = {r.key: r for r in self.importing(collection).manifest.records}["ISIC_0034524"]
        assert (found.label, found.split) == ("NV", "test")
