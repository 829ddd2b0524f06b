"""Tests of answers: what is a sentence, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.augment.captions.answers import Unfit, one_sentence, unfenced
from didgen.augment.captions.describe import DESCRIBE, SHORTEN
from didgen.augment.captions.invent import INVENT
from didgen.augment.prompts.prompt import clean
from tests.fixtures.free_sentences import FREE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I'm sorry, but I can't assist with that request.", "refused"),
        ("I\u2019m unable to view images.", "refused"),
        ("As an AI language model, I do not give medical advice.", "refused"),
        ("Sorry, no image was provided.", "refused"),
        ("Please consult a dermatologist about the brown lesion.", "refused"),
        ("A brown lesion; consult your physician about it.", "refused"),
        ("**Size:** small, **shape:** round.", "markup"),
        ("# Description\nA small brown lesion on skin.", "markup"),
        ("> A small brown lesion on skin.", "markup"),
        ("| size | small |\n|---|---|", "markup"),
        ("See [the lesion](http://x.test) that is brown.", "markup"),
        ("```\nA small brown lesion.\n```", "code"),
        ("def describe(image): return 'brown'", "code"),
        ('{"lesion": "brown"}', "code"),
        ("<p>A small brown lesion.</p>", "code"),
        ("- small\n- round\n- brown", "a list"),
        ("1. It is small.\n2. It is round.", "a list"),
        (DESCRIBE, "an echo of the question"),
        (f'You asked: "{DESCRIBE[:120]}" and so on.', "an echo of the question"),
        ("Ein kleiner brauner Fleck mit dunklem Rand auf heller Haut.", "another language"),
        ("Une l\u00e9sion brune avec des bords nets sur la peau.", "another language"),
        ("Una peque\u00f1a lesi\u00f3n con los bordes oscuros y piel clara.", "another language"),
        ("\u4e2d\u592e\u6709\u4e00\u4e2a\u68d5\u8272\u75c5\u53d8\u3002", "another language"),
        ("\u0440\u043e\u0434\u0438\u043d\u043a\u0430.", "another language"),
        ("A small brown lesion at the", "cut off in the middle"),
        ("A small brown lesion at the upper ri", "cut off in the middle"),
        ("A small brown lesion (with dark", "cut off in the middle"),
        ("A small brown lesion,", "cut off in the middle"),
        ("A small brown lesion with\u2026", "cut off in the middle"),
        ("<think>It is brown and", "no words"),
        ("It is brown. It is round.", "several sentences"),
        ("Brown.", "no sentence"),
        ("...", "no words"),
        ("42", "no words"),
        ("\x00\x1b[31", "no words"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_sentence_is_no_caption(answer: str, reason: str) -> None:
    found = one_sentence(answer, DESCRIBE)
    assert isinstance(found, Unfit) and found.reason == reason


@pytest.mark.parametrize("reason", ["markup", "a list", "several sentences"])
def test_descriptions_in_another_form_keep_their_words(reason: str) -> None:
    said = {"markup": "**Brown** it is.", "a list": "- brown\n- round"}.get(reason, "It is. Brown.")
    found = one_sentence(said)
    assert isinstance(found, Unfit) and found.reason == reason and "rown" in found.words


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("A small brown lesion.", "A small brown lesion."),
        (' "A small brown\nlesion!" ', "A small brown lesion."),
        ("**A small brown lesion.**", "A small brown lesion."),
        ("Caption: A small brown lesion.", "A small brown lesion."),
        ("Sure! Here is the description: A small brown lesion.", "A small brown lesion."),
        ("<think>It is\n\n# brown</think>A small brown lesion.", "A small brown lesion."),
        ("A lesion of 5.5 mm with a 0.2 mm rim.", "A lesion of 5.5 mm with a 0.2 mm rim."),
        ("A brown lesion on the left cheek (nose).", "A brown lesion on the left cheek (nose)."),
    ],
)
def test_a_sentence_is_taken_out_of_its_wrapping(answer: str, sentence: str) -> None:
    assert one_sentence(answer, DESCRIBE) == sentence


@pytest.mark.parametrize("free", FREE, ids=lambda free: free.said[:40])
def test_what_vision_models_say_is_a_sentence(free: object) -> None:
    said = free.said  # type: ignore[attr-defined]
    assert one_sentence(said, DESCRIBE) == said
    assert one_sentence(said, SHORTEN) == said


def test_an_example_that_is_said_again_is_no_echo() -> None:
    example = "melanoma, a large oval black lesion at the center, sharp border, light pink skin."
    assert one_sentence(example, INVENT.format(examples=f"- {example}")) == example


def test_json_is_taken_out_of_its_fence() -> None:
    assert unfenced('```json\n{"a": 1}\n```') == '{"a": 1}'
    assert unfenced('{"a": "```"}') == '{"a": "```"}'


@given(st.text(max_size=200))
def test_any_text_is_a_clean_sentence_or_has_a_reason(text: str) -> None:
    found = one_sentence(text, DESCRIBE)
    if isinstance(found, str):
        assert found == clean(found) and found.endswith(".")
    else:
        assert found.reason
