"""Tests of endpoints: what is asked of them, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest

from didgen.augment.captions.caption import caption_source, to_do
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.captions import IMAGES, SENTENCE, asks, by_schema
from tests.fixtures.servers import katan, serve


def test_a_server_with_schemas_fills_them(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with serve(by_schema) as server:
        after = caption_source(bare, asks(server))
    assert len(server.asked) == len(after.records)
    assert set(server.keys) == {"Bearer secret"}
    for record in after.records:
        assert record.caption is not None
        assert record.caption.endswith(
            ", a small round tan lesion at the center, sharp border, light skin, gel bubbles."
        )
        assert record.caption_by == "openai m, prompt 3"
    assert "secret" not in (bare / "records.jsonl").read_text()
    schema = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert schema["additionalProperties"] is False
    text, image = server.asked[0]["messages"][0]["content"]
    assert text["type"] == "text"
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_a_server_without_schemas_says_a_sentence(bare: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if "response_format" in body:
            return 400, {"error": {"message": "response_format is not supported"}}
        return 200, SENTENCE

    with serve(reply) as server:
        after = caption_source(bare, asks(server, concurrency=1))
    assert sum("response_format" in body for body in server.asked) == 1
    first = after.records[0]
    assert first.label == "MEL" and first.caption == f"melanoma, {SENTENCE}"
    assert not after.header.caption_fallbacks


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "OPENAI_API_KEY"), (404, "--model"), (400, "refused it")]
)
def test_an_endpoint_that_takes_nothing_is_named(bare: Path, status: int, reason: str) -> None:
    with (
        serve(lambda number, body: (status, {"error": {"message": "refused it"}})) as server,
        pytest.raises(DidgenError, match=reason),
    ):
        caption_source(bare, asks(server))
    with pytest.raises(DidgenError, match="does not answer"):
        caption_source(bare, asks(server))


def test_one_refused_image_is_measured(bare: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        refused = (400, {"error": {"message": "content filter"}})
        return refused if number >= IMAGES - 2 else by_schema(number, body)

    with serve(reply) as server:
        after = caption_source(bare, asks(server, concurrency=1))
    assert after.header.caption_fallbacks == {"refused": 2}


def test_a_refused_image_does_not_end_the_schemas(bare: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        refused = (400, {"error": {"message": "content filter"}})
        return refused if number in (1, 2) else by_schema(number, body)

    with serve(reply) as server:
        after = caption_source(bare, asks(server, concurrency=1))
    assert sum("response_format" in body for body in server.asked) == IMAGES
    assert after.header.caption_fallbacks == {"refused": 1}


def test_a_busy_endpoint_is_asked_again(bare: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        return (429, {"error": {"message": "slow"}}) if number == 0 else by_schema(number, body)

    with serve(reply) as server:
        after = caption_source(bare, asks(server, retries=1, concurrency=1))
    assert len(server.asked) == IMAGES + 1
    assert not after.header.caption_fallbacks


def test_a_real_server_with_errors_and_latency(bare: Path, tmp_path: Path) -> None:
    options = ("--error-rate", "0.3", "--latency-ms", "5")
    with katan(tmp_path, *options) as url:
        after = caption_source(bare, asks(url, retries=8, concurrency=8))
    # An echo is no sentence, so that every image is measured, and says so.
    assert after.header.caption_fallbacks == {"several sentences": IMAGES}


@pytest.mark.slow
def test_a_real_server_that_stops_ends_the_run(bare: Path, tmp_path: Path) -> None:
    with (
        katan(tmp_path, "--rate-limit-after", "9") as url,
        pytest.raises(DidgenError, match="does not answer"),
    ):
        caption_source(bare, asks(url, concurrency=1))
    # An image takes three requests: by schema, in a sentence, and to shorten that.
    assert len(to_do(SourceManifest.read(bare), "", again=False)) == IMAGES - 3
