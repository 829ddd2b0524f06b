"""Tests of captioning a manifest: backends, fallbacks, the cache, and runs that are cut short."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from didgen.augment.prompts.caption import (
    CACHE_FILE,
    Cache,
    Caption,
    Described,
    Measured,
    caption_manifest,
    caption_source,
    describer,
    to_do,
    token_counter,
)
from didgen.augment.prompts.describe import Describer
from didgen.augment.prompts.llm import ChatSettings, Question, chat_name
from didgen.augment.prompts.measure import measure_files
from didgen.augment.prompts.prompt import (
    LESION,
    P_TOKENS,
    PREFIX,
    SKIN,
    TOKEN_LIMIT,
    clean,
    compose,
    fit,
)
from didgen.augment.prompts.sentence import render
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.places import REPOSITORY
from tests.fixtures.servers import Server, katan, serve

COUNT = token_counter("mini")
IMAGES = 6
"""Images of the source that is captioned."""
SENTENCE = "A small round brown lesion at the center on light skin."
SEEN = {
    "lesion": {
        "size": "small",
        "shape": "round",
        "colors": ["tan"],
        "position": "center",
        "asymmetry": None,
        "border": "sharp",
    },
    "surround": {
        "tone": "light",
        "tint": None,
        "hair": "no",
        "dark_corners": False,
        "ruler": False,
        "ink": False,
        "gel_bubbles": True,
    },
}


@pytest.fixture
def bare(manifest: SourceManifest, tmp_path: Path) -> Path:
    """The folder of the tiny source without its captions."""
    records = tuple(r.model_copy(update={"caption": None}) for r in manifest.records[:IMAGES])
    replace(manifest, records=records).write(tmp_path / "source")
    return tmp_path / "source"


def asks(server: Server | str, retries: int = 0, concurrency: int = 4) -> Described:
    url = server if isinstance(server, str) else server.url
    settings = ChatSettings("openai", "m", url, concurrency=concurrency, retries=retries)
    return Described(describer(settings, None, COUNT))


def by_schema(number: int, body: dict[str, Any]) -> tuple[int, Any]:
    return 200, json.dumps(SEEN) if "response_format" in body else SENTENCE


def test_images_are_measured_where_captions_are_missing(bare: Path) -> None:
    manifest = SourceManifest.read(bare)
    kept = manifest.records[3].model_copy(update={"caption": "kept as it is"})
    records = (*manifest.records[:3], kept, *manifest.records[4:])
    replace(manifest, records=records).rewrite(bare)
    calls: list[tuple[int, int]] = []
    after = caption_source(bare, Measured(COUNT, 1), progress=lambda *call: calls.append(call))
    assert calls == [(n, IMAGES) for n in range(2, IMAGES + 1)]
    for was, now in zip(records, after.records, strict=True):
        if was.caption is None:
            said = measure_files((after.image_path(now), after.mask_path(now), now.label))
            assert now.caption == fit(render(said), COUNT)
            assert (now.caption_by, now.caption_fallback) == ("measure 3", None)
        else:
            assert now == was
    assert after == SourceManifest.read(bare)
    assert after.header.captions == {"measure 3": IMAGES - 1}
    assert not to_do(after, "measure 3", again=False)
    assert to_do(after, "measure 3", again=True) == [kept]


def test_an_import_meanwhile_is_kept(bare: Path) -> None:
    before = SourceManifest.read(bare)
    first, second, *others = before.records
    new = first.model_copy(update={"key": "new", "sha256": "0" * 64, "lesion_id": "new"})
    relabelled = second.model_copy(update={"label": "DF"})

    class Slow(Measured):
        def captions(self, jobs, keep):
            yield from super().captions(jobs, keep)
            replace(before, records=(first, relabelled, *others[:-1], new)).write(bare)

    after = caption_source(bare, Slow(COUNT, 1))
    assert [r.key for r in after.records] == [
        first.key,
        second.key,
        *(r.key for r in others[:-1]),
        "new",
    ]
    captioned = {r.key: r.caption is not None for r in after.records}
    # What was said of an image with another label is not true of this one.
    assert captioned == {r.key: r.key not in ("new", second.key) for r in after.records}
    assert after.header.captions == {"measure 3": IMAGES - 2}


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


LONG = " ".join(f"word{number}" for number in range(90)) + "."


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (LONG, SENTENCE, None),
        ("One thing. Another thing.", SENTENCE, None),
        (LONG, LONG, "too long"),
        ("One thing. Another thing.", "A. B.", "several sentences"),
        ("***", SENTENCE, None),
        ("\x00\x1b", SENTENCE, "no words"),
        ("", SENTENCE, "no words"),
        (None, SENTENCE, "no words"),
    ],
)
def test_what_is_no_short_sentence_is_shortened_or_measured(
    bare: Path, first: str | None, second: str, reason: str | None
) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if "response_format" in body:
            return 200, "no JSON"
        asked = body["messages"][0]["content"]
        if isinstance(asked, list):
            return 200, first or ""
        assert asked.endswith(clean(first or ""))
        return 200, second

    with serve(reply) as server:
        after = caption_source(bare, asks(server))
    for record in after.records:
        assert record.caption_fallback == reason
        assert record.caption is not None and COUNT(compose(record.caption)) <= TOKEN_LIMIT
        if reason is None:
            assert record.caption.endswith(SENTENCE)
    if reason is not None:
        assert after.header.caption_fallbacks == {reason: len(after.records)}
        first_record = after.records[0]
        files = after.image_path(first_record), after.mask_path(first_record), first_record.label
        assert first_record.caption == fit(render(measure_files(files)), COUNT)


def test_another_model_shortens(bare: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        return 200, SENTENCE if body["model"] == "short" else LONG

    with serve(reply) as server:
        settings = ChatSettings("openai", "long", server.url, retries=0)
        after = caption_source(bare, Described(describer(settings, "short", COUNT)))
    assert not after.header.caption_fallbacks
    assert after.records[0].caption_by == "openai long, shortened by openai short, prompt 3"


def test_a_second_run_asks_nothing_and_replacing_is_cached(bare: Path) -> None:
    with serve(by_schema) as server:
        first = caption_source(bare, asks(server))
        asked = len(server.asked)
        assert caption_source(bare, asks(server)) == first
        measured = caption_source(bare, Measured(COUNT, 1), again=True)
        assert measured.header.captions == {"measure 3": IMAGES}
        assert caption_source(bare, asks(server), again=True) == first
        assert len(server.asked) == asked


def test_a_dead_endpoint_keeps_what_is_finished(bare: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        return by_schema(number, body) if number < 2 else (503, {"error": {"message": "gone"}})

    with serve(reply) as server:
        with pytest.raises(DidgenError, match=r"endpoint http.* does not answer .*gone.*again"):
            caption_source(bare, asks(server, concurrency=1))
        after = SourceManifest.read(bare)
        assert len(to_do(after, "openai m, prompt 3", again=False)) == IMAGES - 2
        server.reply = by_schema
        asked = len(server.asked)
        caption_source(bare, asks(server))
        assert len(server.asked) - asked == IMAGES - 2


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


def test_what_was_answered_beside_a_failure_is_kept(bare: Path) -> None:
    failed = threading.Event()

    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if number == 0:
            failed.set()
            return 503, {"error": {"message": "gone"}}
        failed.wait(10)
        time.sleep(0.5)
        return by_schema(number, body)

    with serve(reply) as server:
        with pytest.raises(DidgenError, match="does not answer"):
            caption_source(bare, asks(server, concurrency=2))
        under_way = len(server.asked) - 1
        assert under_way > 0
        server.reply = by_schema
        caption_source(bare, asks(server))
    assert len(server.asked) == 1 + IMAGES


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        ("Melanoma, dark brown.", "Melanoma, dark brown."),
        ("A large melanoma with brown areas.", "melanoma, A large melanoma with brown areas."),
        ("Melanomatous, brown.", "melanoma, Melanomatous, brown."),
    ],
)
def test_the_class_is_the_first_clause(said: str, caption: str) -> None:
    class Says:
        structured, name = False, "says"

        def ask(self, questions: list[Question]) -> list[str | None]:
            return [said for _ in questions]

    describer = Describer(Says(), None, COUNT)  # type: ignore[arg-type]
    assert describer.write([Question("?")], [], ["melanoma"]) == [caption]


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


@pytest.mark.slow
def test_a_killed_run_goes_on(bare: Path) -> None:
    def slow(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(0.2)
        return by_schema(number, body)

    with serve(slow) as server:
        command = [sys.executable, "-m", "didgen.cli", "caption", str(bare), "--backend", "openai"]
        command += ["--model", "m", "--base-url", server.url, "--concurrency", "1"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=dict(os.environ))
        cache = bare / CACHE_FILE
        while not cache.exists() or len(cache.read_bytes().splitlines()) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished = len(cache.read_bytes().splitlines())
        assert finished < IMAGES
        assert len(to_do(SourceManifest.read(bare), "", again=False)) == IMAGES
        with open(cache, "ab") as file:
            file.write(b'{"key": "torn')
        server.reply = by_schema
        asked = len(server.asked)
        after = caption_source(bare, asks(server))
        assert len(server.asked) - asked == IMAGES - finished
    assert after.header.captions == {"openai m, prompt 3": IMAGES}
    assert not after.header.caption_fallbacks


def test_the_cache_passes_over_what_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    Cache(path).add("a", Caption("one"))
    with open(path, "ab") as file:
        file.write(b'[1]\n{"key": 3\n\xff\n{"key": "b", "capt')
    cache = Cache(path)
    assert cache.get("a") == Caption("one") and cache.get("b") is None
    cache.add("c", Caption("three", "refused"))
    again = Cache(path)
    assert again.get("a") == Caption("one")
    assert again.get("c") == Caption("three", "refused")


def test_a_changed_label_is_captioned_anew(bare: Path) -> None:
    manifest = SourceManifest.read(bare)
    cache = Cache(bare / CACHE_FILE)
    few = replace(manifest, records=manifest.records[:1])
    relabelled = few.records[0].model_copy(update={"label": "NV"})
    with serve(by_schema) as server:
        (first,) = caption_manifest(few, asks(server), cache=cache)
        other_few = replace(few, records=(relabelled,))
        (other,) = caption_manifest(other_few, asks(server), cache=cache)
    assert first.caption is not None and other.caption is not None
    assert first.caption.startswith("melanoma, ")
    assert other.caption.startswith("melanocytic nevus, ")


def test_a_class_name_longer_than_the_prompt_is_named(bare: Path) -> None:
    manifest = SourceManifest.read(bare)
    header = manifest.header.model_copy(update={"classes": ("x" * 200,)})
    record = manifest.records[0].model_copy(update={"label": "x" * 200})
    replace(manifest, header=header, records=(record,)).rewrite(bare)
    with pytest.raises(DidgenError, match="xxx' is longer than the prompt of the target model"):
        caption_source(bare, Measured(COUNT, 1))
    assert SourceManifest.read(bare).records == (record,)


def test_who_wrote_a_caption_fits_a_record(bare: Path) -> None:
    class Long(NamedTuple):
        name: str = chat_name("transformers", f"/{'deep/' * 60}model")

    record = SourceManifest.read(bare).records[0].model_dump()
    name = Describer(Long(), Long(), COUNT).name  # type: ignore[arg-type]
    assert SourceRecord.model_validate(record | {"caption_by": name}).caption_by == name


def test_a_target_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DidgenError, match=r"tokenizer of the model .* could not be loaded"):
        token_counter(str(tmp_path))


def test_a_target_without_p_tokens_counts_each_as_one() -> None:
    assert COUNT(f"{LESION} {SKIN}") == 4


HOSTILE = [LESION, SKIN, "<|endoftext|>", "<|startoftext|>", "<", ">", "\x00", "\u202e", "\n", "."]
HOSTILE += ["\uff1clesion\uff1e", "<LESION>", "les<lesion>ion", "\U0001f9b7", "e\u0301", ", ", " "]
hostile = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=20), max_size=60).map("".join)


@settings(deadline=None, max_examples=150)
@given(hostile)
@example(LESION * 200)
@example("\U0001f9b7" * 500)
def test_no_caption_breaks_the_budget_or_the_p_tokens(text: str) -> None:
    fitted = fit(text, COUNT)
    assert COUNT(compose(fitted)) <= TOKEN_LIMIT
    tokens = TOKENIZER(compose(fitted)).input_ids
    for token in P_TOKENS:
        assert tokens.count(TOKENIZER.convert_tokens_to_ids(token)) == 1
    assert tokens.count(TOKENIZER.bos_token_id) == 1
    assert tokens.count(TOKENIZER.eos_token_id) == 1
    kept = [word.rstrip(",;:.") for word in fitted.split()]
    assert kept == [word.rstrip(",;:.") for word in clean(text).split()][: len(kept)]
    assert compose(fitted).startswith(PREFIX.rstrip())


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    from didgen.manifests.provenance.models import MINI

    return AutoTokenizer.from_pretrained(str(MINI), subfolder="tokenizer")


TOKENIZER = _tokenizer()
