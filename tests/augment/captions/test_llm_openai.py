"""Tests of endpoints: what is asked of them, what they refuse, and how they misbehave."""

import json
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from didgen.augment.captions.answers import Unfit, one_sentence
from didgen.augment.captions.caption import caption_source, to_do
from didgen.augment.captions.describe import DESCRIBE
from didgen.augment.captions.llm import Question
from didgen.augment.captions.llm_openai import (
    NoCompletion,
    OpenAIChat,
    read_answer,
    shown_address,
)
from didgen.augment.prompts.prompt import clean
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.captions import IMAGES, SENTENCE, asks, by_schema
from tests.fixtures.servers import Raw, katan, serve


def test_a_server_with_schemas_fills_them(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with serve(by_schema) as server:
        after = caption_source(bare, asks(server))
    assert len(server.asked) == len(after.records)
    assert set(server.keys) == {"Bearer secret"}
    for record in after.records:
        assert record.caption is not None
        assert record.caption.endswith(
            ", a small round tan lesion at the center, sharp border, pigment network, dots, "
            "light skin, gel bubbles."
        )
        assert record.caption_by == "openai m, prompt 4"
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
    assert after.header.caption_fallbacks == {"an echo of the question": IMAGES}


@pytest.mark.slow
def test_a_real_server_that_stops_ends_the_run(bare: Path, tmp_path: Path) -> None:
    with (
        katan(tmp_path, "--rate-limit-after", "9") as url,
        pytest.raises(DidgenError, match="does not answer"),
    ):
        caption_source(bare, asks(url, concurrency=1))
    # An image takes two requests: by schema, and in a sentence.
    assert len(to_do(SourceManifest.read(bare), "", again=False)) == IMAGES - 4


STRANGE = (b"null", b"[]", b"{}", b"1e999", b'"\\ud800"', b"[[", b"}", b'"', b"\\", b"<", b"sorry ")
"""What is put into a body."""

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome</body></html>"


def completion(content: Any, **fields: Any) -> bytes:
    """The body of an answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}} | fields
    return json.dumps({"id": "1", "choices": [choice]}).encode()


@pytest.mark.parametrize(
    ("status", "raw", "said"),
    [
        (200, Raw(PAGE, {"Content-Type": "text/html"}), "status 200 with an HTML page; .* /v1"),
        (200, Raw(PAGE), "status 200 with an HTML page"),
        (200, Raw(), "status 200 without a body"),
        (200, Raw(b" \n"), "status 200 without a body"),
        (200, Raw(completion("A mole.")[:-9]), "torn JSON"),
        (200, Raw(b"[" * 100_000), "torn JSON"),
        (200, Raw(b"\xff\xfe\x00"), "torn JSON"),
        (200, Raw(b"null"), "JSON that is no chat completion"),
        (200, Raw(b"{}"), "JSON that is no chat completion"),
        (200, Raw(b'{"choices": 5}'), "JSON that is no chat completion"),
        (200, Raw(b'{"choices": null, "error": {"message": "no credit"}}'), "no credit"),
        (200, Raw(b'{"error": "model is loading"}'), "model is loading"),
        (502, Raw(PAGE, {"Content-Type": "text/html"}), "status 502: an HTML page"),
        (404, Raw(PAGE, {"Content-Type": "text/html"}), "status 404: an HTML page"),
        (403, Raw(b'{"detail": "not for you"}'), "status 403: not for you"),
        (500, Raw(), "status 500"),
        (200, Raw(completion("A mole."), cut=True), r"does not answer for the model m \(\w"),
        (200, Raw(completion("A mole."), delay=0.6), "no answer within 0.2 seconds"),
        (301, Raw(headers={"Location": "https://u:pw@other.test/?a=b"}), "https://other.test/,"),
        (302, Raw(headers={"Location": "/login"}), "status 302: it redirects, where"),
        (307, Raw(headers={"Location": "http://other.test/v1"}), "redirects to http://other.test/"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_one_sentence(
    status: int, raw: Raw, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("didgen.augment.captions.llm_openai.TIMEOUT", 0.2)
    with serve(lambda number, body: (status, raw)) as server:
        chat = OpenAIChat("m", server.url, retries=0)
        with pytest.raises(DidgenError, match=said) as caught:
            chat.ask([Question("Say something.")])
        chat.close()
        assert len(server.asked) == 1
    words = str(caught.value)
    assert "finished captions are kept" in words and words.endswith("again.")
    assert "\n" not in words and "<" not in words and "pw" not in words and len(words) < 700


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (completion("A mole."), "A mole."),
        (completion([{"type": "text", "text": "A "}, {"text": "mole."}]), "A mole."),
        (completion([{"type": "image", "url": "x"}, "A mole."]), "A mole."),
        (completion("A mole", finish_reason="length"), Unfit("cut off in the middle", "A mole")),
        (completion("A mole.", finish_reason="content_filter"), Unfit("refused")),
        (completion(None), Unfit("refused")),
        (completion(""), Unfit("refused")),
        (completion([]), Unfit("refused")),
        (completion(7), Unfit("refused")),
        (completion({"text": 7}), Unfit("refused")),
        (completion("", message=None), Unfit("refused")),
        (b'{"choices": []}', Unfit("refused")),
        (b'{"choices": [{}]}', Unfit("refused")),
    ],
)  # fmt: skip
def test_a_message_is_read_in_all_its_forms(body: bytes, answer: str | Unfit) -> None:
    assert read_answer(body) == answer


@pytest.mark.parametrize(
    "address",
    ["localhost:8000", "ftp://host/v1", "http://", "http:///v1", "http://ho st/v1", "//host/v1",
     "http://host:port/v1", "http://[::1/v1", "http://h\u00f6st/v1", "http://u:pw@ host/v1", " "],
)  # fmt: skip
def test_an_address_that_is_no_url_is_named_without_its_password(address: str) -> None:
    with pytest.raises(DidgenError, match=r"--base-url .* is no http or https URL") as caught:
        OpenAIChat("m", address)
    assert "pw" not in str(caught.value)


def test_an_address_is_shown_without_its_secrets() -> None:
    assert shown_address("https://me:pw@host:81/v1?key=pw#pw") == "https://host:81/v1"
    assert shown_address("http://[::1]:80/v1") == "http://[::1]:80/v1"


@pytest.mark.parametrize("key", ["sch\u00f6n", "two words", "line\nbreak", "\u200bsk-1"])
def test_a_key_that_can_be_none_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(DidgenError, match="OPENAI_API_KEY holds a space") as caught:
        OpenAIChat("m", "http://127.0.0.1:9/v1")
    assert key not in str(caught.value) and ascii(key)[1:-1] not in str(caught.value)


def test_no_secret_is_printed_or_written(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-geheim")

    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        said = "sk-geheim and p%40ss and p@ss at http://me:p%40ss@host are wrong"
        return by_schema(number, body) if number < 2 else (401, {"error": {"message": said}})

    with serve(reply) as server:
        address = server.url.replace("//", "//me:p%40ss@") + "?token=p%40ss"
        with pytest.raises(DidgenError, match=r"status 401: \*\*\* and \*\*\*") as caught:
            caption_source(bare, asks(address, concurrency=1))
    written = "".join(p.read_text() for p in bare.iterdir() if p.is_file())
    assert "openai m" in written
    for secret in ("sk-geheim", "p%40ss", "p@ss"):
        assert secret not in str(caught.value) and secret not in written


def test_a_server_that_is_busy_says_how_long(bare: Path) -> None:
    came: list[float] = []

    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        came.append(time.monotonic())
        return (429, Raw(b"{}", {"Retry-After": "1"})) if number == 0 else by_schema(number, body)

    with serve(reply) as server:
        chat = OpenAIChat("m", server.url, retries=1)
        assert chat.ask([Question("Say something.")]) == [SENTENCE]
        chat.close()
    assert len(came) == 2 and came[1] - came[0] >= 1


def test_a_question_with_a_seed_is_sampled() -> None:
    with serve(by_schema) as server:
        chat = OpenAIChat("m", server.url, retries=0)
        chat.ask([Question("Describe it."), Question("Invent one.", seed=5)])
        chat.close()
    assert [body.get("temperature") for body in server.asked] == [None, 1.0]


def test_a_page_in_the_middle_of_a_run_keeps_what_was_answered(bare: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        return by_schema(number, body) if number < 3 else (200, Raw(b"<html>"))

    with serve(reply) as server:
        with pytest.raises(DidgenError, match="HTML page"):
            caption_source(bare, asks(server, concurrency=1))
        assert len(to_do(SourceManifest.read(bare), "", again=False)) == IMAGES - 3
        server.reply = by_schema
        asked = len(server.asked)
        caption_source(bare, asks(server))
    assert len(server.asked) - asked == IMAGES - 3


@pytest.mark.slow
def test_mutated_answers_are_read_or_refused() -> None:
    rng = np.random.default_rng(0)
    bodies = [
        completion(SENTENCE),
        completion([{"type": "text", "text": SENTENCE}]),
        completion(f"```\n{SENTENCE}\n```"),
        json.dumps({"error": {"message": "no", "code": 5}}).encode(),
        PAGE,
    ]
    seen = Counter(_kind(_mutated(bodies[rng.integers(len(bodies))], rng)) for _ in range(5000))
    assert seen.keys() >= {"no completion", "refused", "code", "a caption"}
    # Broken JSON hides what is said in it: so words are changed within whole bodies as well.
    words = SENTENCE.encode()
    spoken = Counter(
        _kind(completion(_mutated(words, rng).decode(errors="replace"))) for _ in range(5000)
    )
    assert spoken.keys() >= {"a caption", "cut off in the middle", "code", "refused"}
    assert "no completion" not in spoken


def _mutated(body: bytes, rng: np.random.Generator) -> bytes:
    """A body with a few bytes changed, cut out, put in or doubled."""
    data = bytearray(body)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(len(data)))
        match rng.integers(5):
            case 0:
                data[place] = rng.integers(256)
            case 1:
                del data[max(place, 1) :]
            case 2:
                del data[place : place + int(rng.integers(30))]
            case 3:
                data[place:place] = STRANGE[rng.integers(len(STRANGE))]
            case 4:
                data += data[place:]
        data = data[:4000] or bytearray(b"x")
    return bytes(data)


def _kind(body: bytes) -> str:
    """What becomes of a body; anything but a caption and a reason is an exception."""
    try:
        answer = read_answer(body)
    except NoCompletion:
        return "no completion"
    sentence = one_sentence(answer, DESCRIBE)
    if isinstance(sentence, Unfit):
        return sentence.reason
    assert sentence == clean(sentence) and sentence.endswith(".")
    assert any(character.isalpha() for character in sentence)
    return "a caption"


@pytest.mark.slow
def test_an_endpoint_that_lies_at_random_ends_in_a_sentence_or_an_answer() -> None:
    rng = np.random.default_rng(1)
    headers = [{}, {"Content-Type": "text/html"}, {"Content-Length": "0"}, {"Location": "/"}]
    statuses = [200, 200, 200, 204, 301, 400, 429, 500]
    with serve(by_schema) as server:
        chat = OpenAIChat("m", server.url, retries=0)
        seen = Counter[str]()
        for _ in range(400):
            body = _mutated(completion(SENTENCE), rng)
            lie = Raw(body, headers[rng.integers(len(headers))])
            server.reply = partial(_always, statuses[rng.integers(len(statuses))], lie)
            seen[_outcome(chat)] += 1
        chat.close()
    assert seen.keys() == {"answered", "refused", "one sentence"}


def _always(status: int, answer: Raw, number: int, body: dict[str, Any]) -> tuple[int, Raw]:
    return status, answer


def _outcome(chat: OpenAIChat) -> str:
    """What asking an endpoint ends in."""
    try:
        (answer,) = chat.ask([Question("Say something.")])
    except DidgenError as error:
        return "one sentence" if "does not answer" in str(error) else str(error)
    return "answered" if isinstance(answer, str) else "refused"
