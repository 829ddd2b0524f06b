"""Tests of rows: what they say of a sample, and which shards a resumed run may skip."""

import json
from pathlib import Path
from typing import Any

import pytest

from didgen.manifests.shards.rows import difference, shard_is_whole
from didgen.manifests.shards.shard import Failure, Sample, Sidecar, Stamp, shard_path, write_shard


@pytest.mark.parametrize(
    ("row", "record", "field"),
    [
        ({"label": "MEL"}, {"label": 0, "class": "MEL"}, None),
        ({"label": "MEL"}, {"label": 1, "class": "BCC"}, "label"),
        ({"label": "MEL"}, {"label": 0}, None),
        ({"key": "a", "status": "ok", "batch": ["a"]}, {"key": "a", "run": "f00d"}, None),
        ({"seed": 1, "prompt": "x"}, {"seed": 1, "prompt": "y"}, "prompt"),
        ({"scores": {"contrast": 0.5}}, {"scores": {"contrast": 0.25}}, "scores"),
        ({"redraws": 1, "layout": "a"}, {"redraws": 0, "layout": "b"}, "layout"),
    ],
)
def test_what_both_say_must_be_the_same(
    row: dict[str, Any], record: dict[str, Any], field: str | None
) -> None:
    assert difference(row, record) == field


def sample(key: str) -> Sample:
    record = json.dumps({"label": 1, "class": "BCC", "seed": 7}).encode()
    return Sample(key, {"jpg": b"J", "cls": b"1", "json": record}, {"label": "BCC", "seed": 7})


def write(directory: Path, *results: Sample | Failure, **place: str) -> Sidecar:
    return write_shard(directory, "images", 0, results, Stamp("f00d"), **place)  # type: ignore[arg-type]


def test_only_a_shard_as_it_was_made_is_skipped(tmp_path: Path) -> None:
    def whole(
        fingerprint: str = "f00d", keys: tuple[str, ...] = ("a", "b"), index: int = 0
    ) -> bool:
        return shard_is_whole(tmp_path, "images", index, fingerprint=fingerprint, keys=keys)

    assert not whole()
    write(tmp_path, sample("a"), Failure("b", "no lesion"))
    tar = shard_path(tmp_path, "images", 0)
    path = tar.with_suffix(".json")
    assert whole()
    assert not whole(fingerprint="beef")
    assert not whole(keys=("a",))
    assert not whole(keys=("a", "b", "c"))
    assert not whole(index=1)
    data = tar.read_bytes()
    tar.write_bytes(data[:-1])
    assert not whole()
    tar.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert not whole()
    tar.unlink()
    assert not whole()
    tar.write_bytes(data)
    assert whole()
    text = path.read_text()
    for was, now in (('"BCC"', '"MEL"'), ('"seed": 7', '"seed": 8'), ('"rows"', '"row')):
        assert text.count(was) == 1
        path.write_text(text.replace(was, now))
        assert not whole()


def test_a_split_has_its_own_shards(tmp_path: Path) -> None:
    write(tmp_path, sample("a"), split="val")
    asked = {"fingerprint": "f00d", "keys": ["a"]}
    assert shard_is_whole(tmp_path, "images", 0, split="val", **asked)  # type: ignore[arg-type]
    assert not shard_is_whole(tmp_path, "images", 0, **asked)  # type: ignore[arg-type]


def test_a_shard_that_does_not_hold_its_rows_is_not_whole(tmp_path: Path) -> None:
    # Neither is one whose record is no JSON object, if its bytes are those that were written.
    record = Sample("a", {"jpg": b"J", "cls": b"0", "json": b"[1]"})
    write(tmp_path, record)
    assert not shard_is_whole(tmp_path, "images", 0, fingerprint="f00d", keys=["a"])
