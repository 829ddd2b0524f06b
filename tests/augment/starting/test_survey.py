"""Tests of the survey: what a folder holds is what the command it names imports."""

from pathlib import Path

import numpy as np
import pytest

from didgen.augment.starting.survey import PRIVATE, survey
from didgen.manifests.errors import DidgenError
from didgen.manifests.hub.clearance import check_licence
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.commands import Command
from tests.fixtures.pictures import noise, square, write_picture

SIDE = 64
"""The smallest side that an import takes."""


def write_photos(folder: Path, *names: str) -> None:
    for name in names:
        number = sum(name.encode()) * 7919
        write_picture(folder / f"{name}.png", noise(number, SIDE, SIDE))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photographs in two folders of classes."""
    names = [f"{kind}/{number}" for kind in ("wart", "mole") for number in range(5)]
    write_photos(tmp_path / "my photos", *names)
    return tmp_path / "my photos"


def imported(command: Command, words: tuple[str, ...], out: Path) -> SourceManifest:
    assert words[0] == "didgen"
    code, _, err = command(*words[1:], "--out", out)
    assert code == 0, err
    return SourceManifest.read(out)


def test_class_folders(photos: Path, tmp_path: Path, command: Command) -> None:
    found = survey(photos, PRIVATE)
    assert found.command == ("didgen", "import", "folder", str(photos), "--licence", PRIVATE)
    assert "10 images (5 mole, 5 wart), 0 with a mask" in found.sentences()[-1]
    assert not found.masked and not found.captioned and found.training == 6
    assert imported(command, found.command, tmp_path / "source") == found.manifest


def test_masks_and_a_table_beside_the_photographs(tmp_path: Path, command: Command) -> None:
    names = [f"case-{number}" for number in range(10)]
    write_photos(tmp_path / "in" / "images", *names)
    for name in names:
        write_picture(
            tmp_path / "in" / "masks" / f"{name}.png", square(SIDE, 10, 50) * np.uint8(255)
        )
    rows = [f"{name},{'wart' if n % 2 else 'mole'}" for n, name in enumerate(names)]
    (tmp_path / "in" / "labels.csv").write_text("\n".join(["image,label", *rows]))
    found = survey(tmp_path / "in", "CC0-1.0")
    assert found.masked and found.training == 6
    assert "10 images (5 mole, 5 wart), 10 with a mask" in found.sentences()[-1]
    assert imported(command, found.command, tmp_path / "source") == found.manifest


def test_a_source_is_one(photos: Path, tmp_path: Path, command: Command) -> None:
    imported(command, survey(photos, PRIVATE).command, tmp_path / "source")
    found = survey(tmp_path / "source", PRIVATE)
    assert found.command == () and found.manifest == SourceManifest.read(tmp_path / "source")


def test_a_public_set_has_its_importer(tmp_path: Path) -> None:
    isic = tmp_path / "isic" / "ISIC2018_Task1-2_Training_Input"
    write_photos(isic, *(f"ISIC_000000{number}" for number in range(10)))
    for number in range(10):
        place = tmp_path / "isic" / "ISIC2018_Task1_Training_GroundTruth"
        name = f"ISIC_000000{number}_segmentation.png"
        write_picture(place / name, square(SIDE, 10, 50) * np.uint8(255))
    found = survey(tmp_path / "isic", PRIVATE)
    assert found.command == ("didgen", "import", "isic2018", str(tmp_path / "isic"))
    assert len(found.manifest.records) == 10 and found.masked


def test_what_is_private_cannot_be_pushed() -> None:
    with pytest.raises(DidgenError, match="which is no licence that didgen knows to allow sharing"):
        check_licence(Path("runs/mine"), PRIVATE)


def test_what_is_unclear_is_a_sentence(photos: Path) -> None:
    (photos / "one.csv").write_text("image,label\n")
    (photos / "two.csv").write_text("image,label\n")
    with pytest.raises(DidgenError, match=r"holds both one.csv and two.csv; say which"):
        survey(photos, PRIVATE)
    with pytest.raises(DidgenError, match="is not a folder"):
        survey(photos / "nothing", PRIVATE)
