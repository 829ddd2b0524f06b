"""Fixtures that more than one room needs."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real ISIC 2018 data; where it is absent the test is skipped, in CI it fails."""
    folder = Path(os.environ.get("DIDGEN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "isic2018").is_dir():
        message = f"no ISIC 2018 data at {folder}; set DIDGEN_DATA to a folder that holds isic2018"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
