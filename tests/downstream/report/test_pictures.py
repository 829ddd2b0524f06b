"""Tests of pictures of a report."""

from pathlib import Path

import pytest
from PIL import Image

from didgen.downstream.report.pictures import figure_of_file
from didgen.manifests.errors import DidgenError


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"no picture")
    with pytest.raises(DidgenError, match=r"plot\.png is truncated or not an image"):
        figure_of_file(tmp_path / "plot.png", "alt")
    Image.new("RGB", (3000, 30)).save(tmp_path / "wide.png")
    assert figure_of_file(tmp_path / "wide.png", "alt").width == 1500
