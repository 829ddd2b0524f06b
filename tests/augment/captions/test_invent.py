"""Tests of new captions by a language model."""

from pathlib import Path
from typing import Any

import pytest

from didgen.augment.captions.invent import write_captions
from didgen.augment.prompts.prompt_source import read_captions
from didgen.augment.prompts.sentence import parse
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.captions import by_schema, describer_of
from tests.fixtures.servers import serve


def test_each_class_gets_its_captions(manifest: SourceManifest, tmp_path: Path) -> None:
    out = tmp_path / "new.jsonl"
    with serve(by_schema) as server:
        assert write_captions(manifest, describer_of(server), out, 2, seed=1) == {}
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
            assert attributes is not None and attributes.diagnosis is not None
    shown = server.asked[0]["messages"][0]["content"]
    assert "- a brown lesion number " in shown


def test_words_that_do_not_fit_give_way_to_known_attributes(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    out = tmp_path / "new.jsonl"
    with serve(lambda number, body: (200, "One. Two.")) as server:
        counts = write_captions(manifest, describer_of(server), out, 1, seed=1)
    assert counts == {"several sentences": 7}
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
