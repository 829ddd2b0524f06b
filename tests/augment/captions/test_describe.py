"""Tests of describing: what a model answers becomes one short sentence, or is measured."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from didgen.augment.captions.caption import Described, caption_source, describer
from didgen.augment.captions.describe import Describer
from didgen.augment.captions.llm import ChatSettings, Question, chat_name
from didgen.augment.captions.measure import measure_files
from didgen.augment.prompts.prompt import TOKEN_LIMIT, clean, compose, fit
from didgen.augment.prompts.sentence import render
from didgen.manifests.sources.records import SourceManifest, SourceRecord
from tests.fixtures.captions import COUNT, LONG, SENTENCE, asks
from tests.fixtures.servers import serve


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (LONG, SENTENCE, None),
        ("One thing. Another thing.", SENTENCE, None),
        (LONG, LONG, "too long"),
        ("One thing. Another thing.", "A. B.", "several sentences"),
        ("***", SENTENCE, "no words"),
        ("- brown\n- black", SENTENCE, None),
        ("I'm sorry, I cannot help.", SENTENCE, "refused"),
        ("A small brown lesion at the", SENTENCE, None),
        ("```\nA brown lesion.\n```", SENTENCE, "code"),
        ("\x00\x1b", SENTENCE, "no words"),
        ("", SENTENCE, "refused"),
        (None, SENTENCE, "refused"),
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
    assert after.records[0].caption_by == "openai long, shortened by openai short, prompt 4"


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


def test_who_wrote_a_caption_fits_a_record(bare: Path) -> None:
    class Long(NamedTuple):
        name: str = chat_name("transformers", f"/{'deep/' * 60}model")

    record = SourceManifest.read(bare).records[0].model_dump()
    name = Describer(Long(), Long(), COUNT).name  # type: ignore[arg-type]
    assert SourceRecord.model_validate(record | {"caption_by": name}).caption_by == name
