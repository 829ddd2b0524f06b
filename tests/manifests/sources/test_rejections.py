"""Tests of rejections: any name can be written."""

from pathlib import Path

from didgen.manifests.files import read_json_lines
from didgen.manifests.sources.rejections import REJECTED_FILE, Rejection, write_rejections


def test_a_name_that_is_no_utf8_can_be_rejected(tmp_path: Path) -> None:
    rejection = Rejection.of(Path("a\udcff.jpg"), "unreadable-image", "a\udcff.jpg is torn.")
    assert rejection.file == "a?.jpg"
    write_rejections(tmp_path, [rejection])
    assert list(read_json_lines(tmp_path / REJECTED_FILE)) == [
        {"file": "a?.jpg", "reason": "unreadable-image", "sentence": "a?.jpg is torn."}
    ]
