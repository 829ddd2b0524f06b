"""Tests of rejections: any name can be written."""

from pathlib import Path

from didgen.manifests.sources.rejections import Rejection


def test_a_name_that_is_no_utf8_can_be_rejected() -> None:
    rejection = Rejection.of(Path("a\udcff.jpg"), "unreadable-image", "a\udcff.jpg is torn.")
    assert rejection.file == "a?.jpg"
    rejection.model_dump_json()
