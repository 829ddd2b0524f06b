"""The code of README and tutorials runs as it stands there, in the order of the page."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from docs.site.notebooks import pages
from tests.fixtures.documents import carry_out, code, executed, named
from tests.fixtures.pictures import write_picture
from tests.fixtures.places import REPOSITORY

pytestmark = pytest.mark.slow

MASKS = {
    "ISIC2018_Task1-2_Training_Input": "ISIC2018_Task1_Training_GroundTruth",
    "ISIC2018_Task3_Training_Input": "HAM10000_segmentations_lesion_tschandl",
}
"""Folders of images of ISIC 2018, with those of their masks."""

TABLES = ("HAM10000_metadata.csv", "ISIC2018_Task3_Training_LesionGroupings.csv")


def link_isic(folder: Path, data: Path) -> None:
    """Lay down 24 images of each task of ISIC 2018, as its archives unpack, with their masks."""
    isic = data / "isic2018"
    for images, masks in MASKS.items():
        (folder / images).mkdir(parents=True)
        (folder / masks).mkdir()
        for image in sorted((isic / images).glob("*.jpg"))[:24]:
            mask = isic / masks / f"{image.stem}_segmentation.png"
            (folder / images / image.name).symlink_to(image)
            (folder / masks / mask.name).symlink_to(mask)
    for table in TABLES:
        (folder / table).symlink_to(isic / table)


CLINIC = ("changing mole", "harmless mole", "rough patch")
"""Classes of photographs that have no masks."""


def write_photographs(folder: Path) -> None:
    """36 drawn lesions: `photos/`, `masks/` and `labels.csv`, and `clinic/` in class folders."""
    rows, columns = np.mgrid[:256, :256]
    table = [("image", "label", "lesion_id")]
    for number in range(36):
        rng = np.random.default_rng(number)
        row, column = rng.integers(96, 160, 2)
        height, width = rng.integers(30, 80, 2)
        mask = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1
        image = np.where(mask[..., None], (110, 70, 50), (220, 180, 160))
        image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        name = f"case-{number:02d}"
        write_picture(folder / "photos" / f"{name}.png", image)
        write_picture(folder / "masks" / f"{name}.png", mask.astype(np.uint8) * 255)
        write_picture(folder / "clinic" / CLINIC[number % 3] / f"{name}.png", image)
        lesion = f"lesion-{number // 6}-{number % 3}"  # of two photographs
        table.append((name, ("MEL", "BCC", "BKL")[number % 3], lesion))
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(table)


@pytest.fixture
def workplace(tmp_path: Path, demo: Path) -> Path:
    """A folder as a reader has it: a checkout with its environment, the demo, and photographs."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "augment", "benchmarks"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "runs").mkdir()
    # The demo was made once, by the same command: here it is found finished, and verified.
    (tmp_path / "runs" / "demo").symlink_to(demo)
    write_photographs(tmp_path)
    return tmp_path


INTERPRETERS = {
    "sh": ("bash", "-euo", "pipefail", "-c"),
    "python": (sys.executable, "-c"),
}


def test_the_code_of_the_readme_runs(workplace: Path) -> None:
    blocks = [block for block in code(REPOSITORY / "README.md") if block.reason is None]
    assert len(blocks) >= 2
    for block in blocks:
        assert not block.title, block
        carry_out([*INTERPRETERS[block.language], block.text], workplace)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.data] if "isic" in page.name else [])
        for page in pages()
        # `test_tutorials.py` runs the page of one script, and looks at what it leaves.
        if page.name != "pair-in-python.md"
    ],
    ids=named,
)
def test_the_notebook_of_a_tutorial_runs(
    page: Path, workplace: Path, request: pytest.FixtureRequest
) -> None:
    """The page's own code: `test_documents.py` holds that the notebook is the page's."""
    if "isic" in page.name:
        link_isic(workplace / "isic2018", request.getfixturevalue("data_dir"))
    cells = [cell for cell in executed(page, workplace).cells if cell.cell_type == "code"]
    skipped = [one.reason is not None for one in code(page)]
    assert [cell.execution_count is None for cell in cells] == skipped
    assert skipped.count(False) >= 2
