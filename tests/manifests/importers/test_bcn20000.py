"""Tests of importing BCN20000, on a small tree of the form that it ships in."""

from pathlib import Path

from didgen.manifests.sources.records import CLASSES
from tests.contracts.public_set import PublicSetContract, Rows, by_label, photo, table

CODES = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"]


class TestBcn20000(PublicSetContract):
    name = "bcn20000"

    def write(self, folder: Path) -> None:
        rows: Rows = [["bcn_filename", "age_approx", "anatom_site_general", "diagnosis"]]
        rows[0] += ["lesion_id", "capture_date", "sex", "split"]
        for number in range(48):
            name, label = f"BCN_{number:010}.jpg", CODES[number // 2 % 8]
            photo(folder / "BCN_20k_train" / name)
            group = [f"BCN_{number // 2:07}", "2012-05-16", "male", "train"]
            rows.append([name, 50, "", label, *group])
        table(folder / "bcn_20k_train.csv", *rows)

    def test_eight_classes_and_lesions(self, collection: Path) -> None:
        photo(collection / "BCN_20k_test" / "BCN_0000000099.jpg")
        result = self.importing(collection)
        assert by_label(result.manifest.records) == dict.fromkeys([*CLASSES, "SCC"], 6)
        assert len({r.lesion_id for r in result.manifest.records}) == 24
        assert any("1 images are of no part" in note for note in result.notes)
