"""Tests of clearance: the last look at every image before it leaves."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from didgen.manifests.errors import DidgenError
from didgen.manifests.exports.export import export
from didgen.manifests.exports.sound_run import prepare_export
from didgen.manifests.hub.clearance import check_images, check_licence
from tests.fixtures.pictures import encoded, noise, on_its_side


def test_an_export_of_a_run_is_bare(run: Path, tmp_path: Path) -> None:
    export(prepare_export(run, "parquet", tmp_path / "out"))
    # Ten images, and six pairs with a mask each.
    assert check_images(tmp_path / "out") == 22


def test_an_image_with_metadata_is_named(tmp_path: Path) -> None:
    data = encoded(noise(1), "JPEG", exif=on_its_side().tobytes())
    table = pyarrow.table({"key": ["a"], "image": [{"bytes": data, "path": "a.jpg"}]})
    (tmp_path / "images").mkdir()
    parquet.write_table(table, tmp_path / "images" / "train.parquet")
    with pytest.raises(DidgenError, match=r"a\.jpg holds more than its pixels"):
        check_images(tmp_path)


@pytest.mark.parametrize("licence", ["MIT", "cc-by-nc-4.0", "CC-BY-4.0 AND OpenRAIL++"])
def test_licences_that_allow_sharing(licence: str) -> None:
    check_licence(Path("run"), licence)


@pytest.mark.parametrize("licence", ["", "mine", "MIT AND CC-BY-ND-4.0", "MIT AND other"])
def test_licences_that_do_not(licence: str) -> None:
    with pytest.raises(DidgenError, match="run is"):
        check_licence(Path("run"), licence)
