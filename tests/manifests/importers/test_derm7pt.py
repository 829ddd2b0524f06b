"""Tests of importing Derm7pt, on a small tree of the form that it ships in."""

from collections import Counter
from pathlib import Path

import pytest

from didgen.manifests.errors import DidgenError
from tests.contracts.public_set import PublicSetContract, Rows, by_label, photo, table

WORDS = ["clark nevus", "melanoma (in situ)", "basal cell carcinoma", "lentigo"]


class TestDerm7pt(PublicSetContract):
    name = "derm7pt"

    def write(self, folder: Path) -> None:
        rows: Rows = [["case_num", "diagnosis", "seven_point_score", "clinic", "derm"]]
        for number in range(24):
            clinical, dermoscopic = f"NEL/Nel{number:03}.jpg", f"NEL/NEL{number + 100:03}.jpg"
            for path in (clinical, dermoscopic):
                photo(folder / "release_v0" / "images" / path)
            # Some names differ from their files in case.
            written = dermoscopic.replace("NEL/", "Nel/")
            rows.append([number + 1, WORDS[number % 4], 3, clinical, written])
        meta = folder / "release_v0" / "meta"
        table(meta / "meta.csv", *rows)
        for name, first, stop in (("train", 0, 12), ("valid", 12, 18), ("test", 18, 24)):
            table(meta / f"{name}_indexes.csv", ["indexes"], *([n] for n in range(first, stop)))

    def test_cases_keep_their_splits(self, collection: Path) -> None:
        result = self.importing(collection)
        records = result.manifest.records
        assert by_label(records) == {"NV": 6, "MEL": 6, "BCC": 6, "lentigo": 6}
        assert Counter(r.split for r in records) == {"train": 12, "val": 6, "test": 6}
        assert all("NEL1" in record.key for record in records)
        assert any("24 images are of no part" in note for note in result.notes)
        assert "no redistribution" in records[0].licence

    @pytest.mark.parametrize(("text", "told"), [(None, "is missing"), ("indexes\n3\n", "no split")])
    def test_lists_of_rows_that_do_not_split_are_told(
        self, collection: Path, text: str | None, told: str
    ) -> None:
        path = collection / "release_v0" / "meta" / "valid_indexes.csv"
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        with pytest.raises(DidgenError, match=rf"valid_indexes\.csv.*{told}"):
            self.importing(collection)
