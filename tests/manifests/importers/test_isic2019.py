"""Tests of importing ISIC 2019, on a small tree of the form that it ships in."""

from pathlib import Path

from didgen.manifests.sources.records import CLASSES
from tests.contracts.public_set import PublicSetContract, Rows, by_label, photo, table

COLUMNS = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]


class TestIsic2019(PublicSetContract):
    name = "isic2019"

    def write(self, folder: Path) -> None:
        for part, count in (("Training", 32), ("Test", 8)):
            rows: Rows = [["image", *COLUMNS]]
            metadata: Rows = [["image", "age_approx", "anatom_site_general", "lesion_id", "sex"]]
            inputs = folder / f"ISIC_2019_{part}_Input" / f"ISIC_2019_{part}_Input"
            for number in range(count):
                name = f"ISIC_{number + 100 * (part == 'Test'):07}"
                name += "_downsampled" if number == 20 else ""
                photo(inputs / f"{name}.jpg")
                label = COLUMNS[number % 8]
                rows.append([name, *(float(label == column) for column in COLUMNS)])
                lesion = "" if number == 21 else f"MSK4_{number % 24:07}"
                metadata.append([name, 40, "", lesion, "male"])
            table(folder / f"ISIC_2019_{part}_GroundTruth.csv", *rows)
            if part == "Training":
                table(folder / "ISIC_2019_Training_Metadata.csv", *metadata)

    def test_eight_classes_and_lesions(self, collection: Path) -> None:
        photo(collection / "ISIC_2019_Test_Input" / "ISIC_0000199.jpg")
        with open(collection / "ISIC_2019_Test_GroundTruth.csv", "a") as file:
            file.write("ISIC_0000199,0,0,0,0,0,0,0,0,1\n")
        result = self.importing(collection)
        records = result.manifest.records
        assert by_label(records) == dict.fromkeys([*CLASSES, "SCC"], 5)
        assert result.manifest.header.classes == (*CLASSES, "SCC")
        assert [r.reason for r in result.rejections] == ["other-label"]
        assert "is UNK by" in result.rejections[0].sentence
        known = [r for r in records if r.lesion_id.startswith("MSK4_")]
        assert len(known) == 31 and len({r.lesion_id for r in known}) == 23
        assert {r.licence for r in records} == {"CC-BY-NC-4.0"}
        assert {r.split for r in records if r.key >= "ISIC_0000100"} == {"test"}
