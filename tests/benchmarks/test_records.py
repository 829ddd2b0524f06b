"""Records of a measurement: what is on disk counts, and a torn line does not."""

from pathlib import Path

import pytest

from benchmarks.records import Records
from didgen.manifests.errors import DidgenError

ROWS = [{"kind": "pair", "eta": eta, "key": key} for eta in (5.0, 20.0) for key in "ab"]


def test_rows_are_read_again_and_found_by_their_values(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    Records(path, {"steps": 2, "areas": (0.1,)}).add(ROWS)
    again = Records(path, {"steps": 2, "areas": (0.1,)})
    assert again.rows[1:] == ROWS
    assert again.of("pair", eta=5.0) == {"a": ROWS[0], "b": ROWS[1]}
    assert not again.of("gradient")


def test_a_torn_line_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    Records(path, {}).add(ROWS[:2])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind": "pair", "eta": 5')
    records = Records(path, {})
    assert path.read_bytes() == whole
    records.add(ROWS[2:])
    assert Records(path, {}).rows[1:] == ROWS


def test_another_setting_is_another_measurement(tmp_path: Path) -> None:
    Records(tmp_path / "records.jsonl", {"steps": 2})
    with pytest.raises(DidgenError, match="another setting; name another folder"):
        Records(tmp_path / "records.jsonl", {"steps": 3})
