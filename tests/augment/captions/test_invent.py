"""Tests of new captions by a language model."""

import json
from pathlib import Path
from typing import Any

import pytest

from didgen.augment.captions.caption import Caption
from didgen.augment.captions.invent import Written, without_doubles, write_captions
from didgen.augment.prompts.prompt_source import read_captions
from didgen.augment.prompts.schema import Attributes, Size
from didgen.augment.prompts.sentence import parse
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.captions import SEEN, by_schema, describer_of
from tests.fixtures.servers import serve


def by_number(number: int, body: dict[str, Any]) -> tuple[int, Any]:
    """The reply of a server that says another thing each time."""
    lesion = {**SEEN["lesion"], "size": list(Size)[number % 5], "border": None}
    lesion["structures"] = ["dots", "globules", "streaks", "vessels"][: number // 5 % 4]
    return 200, json.dumps(SEEN | {"lesion": lesion})


def test_doubles_of_an_answer_are_dropped(manifest: SourceManifest, tmp_path: Path) -> None:
    out = tmp_path / "new.jsonl"
    with serve(by_schema) as server:
        written = write_captions(manifest, describer_of(server), out, 3, seed=1)
    assert written == Written(7, 14, {})
    assert len(read_json_lines(out)) == 7


def test_what_is_known_is_a_double_whatever_its_case() -> None:
    known = {"MEL": ["A brown mole."]}
    generated = [
        ("MEL", Caption("a brown mole")),
        ("MEL", Caption("A tan mole.")),
        ("MEL", Caption("A tan, mole.")),
        ("NV", Caption("A brown mole.")),
        ("MEL", Caption("A brown mole.", "refused")),
    ]
    kept, doubles = without_doubles(known, generated)
    assert (kept, doubles) == ([generated[1], generated[3], generated[4]], 2)


def test_each_class_gets_its_captions(manifest: SourceManifest, tmp_path: Path) -> None:
    out = tmp_path / "new.jsonl"
    with serve(by_number) as server:
        assert write_captions(manifest, describer_of(server), out, 2, seed=1) == Written(14, 0, {})
        assert len(server.asked) == 14
        before = out.read_bytes()
        write_captions(manifest, describer_of(server), out, 2, seed=1)
        assert len(server.asked) == 14 and out.read_bytes() == before
        write_captions(manifest, describer_of(server), out, 2, seed=2)
        assert len(server.asked) == 28
    known = read_captions(out)
    assert known.keys() == {r.label for r in manifest.select(split="train")}
    for captions in known.values():
        assert len(captions) == 2
        for caption in captions:
            attributes = parse(caption)
            assert isinstance(attributes, Attributes) and attributes.diagnosis is not None
    assert all(body["temperature"] == 1.0 for body in server.asked)
    shown = server.asked[0]["messages"][0]["content"]
    assert "- a brown lesion number " in shown


def test_words_that_do_not_fit_give_way_to_known_attributes(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    out = tmp_path / "new.jsonl"
    with serve(lambda number, body: (200, "One. Two.")) as server:
        written = write_captions(manifest, describer_of(server), out, 1, seed=1)
    assert written == Written(7, 0, {"several sentences": 7})
    known = {r.caption for r in manifest.records}
    for row in read_json_lines(out):
        assert row["caption"] in known
        assert row["caption_fallback"] == "several sentences"


def test_a_dead_endpoint_leaves_no_file_and_goes_on_later(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        return by_schema(number, body) if number < 3 else (500, {"error": {"message": "gone"}})

    out = tmp_path / "new.jsonl"
    with serve(reply) as server:
        with pytest.raises(DidgenError, match="does not answer"):
            write_captions(manifest, describer_of(server), out, 1, seed=1)
        assert not out.exists()
        server.reply = by_schema
        asked = len(server.asked)
        write_captions(manifest, describer_of(server), out, 1, seed=1)
        assert len(server.asked) - asked == 4
    assert len(read_json_lines(out)) == 7
