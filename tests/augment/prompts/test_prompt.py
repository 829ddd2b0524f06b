"""Tests of prompts: their prefix, their P-tokens and their limit of tokens."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from didgen.augment.prompts.prompt import (
    LESION,
    MAX_LENGTH,
    P_TOKENS,
    PREFIX,
    SKIN,
    TOKEN_LIMIT,
    clean,
    compose,
    fit,
)
from didgen.manifests.errors import DidgenError
from tests.fixtures.attributes import SENTENCE, texts
from tests.fixtures.captions import COUNT


def count_words(prompt: str) -> int:
    return len(prompt.split()) + 2


@settings(deadline=None, max_examples=200)
@given(texts)
def test_prompts_hold_each_p_token_once_on_one_line(text: str) -> None:
    prompt = compose(text)
    assert prompt.startswith(PREFIX.rstrip())
    assert prompt.count(LESION) == prompt.count(SKIN) == 1
    assert prompt.isprintable() and "  " not in prompt
    assert clean(clean(text)) == clean(text)


def test_compose_without_a_caption_is_the_bare_prefix() -> None:
    assert compose(None) == compose("") == "An image of <lesion> on <skin>."
    assert compose(SENTENCE) == PREFIX + SENTENCE


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, MAX_LENGTH + 50), min_size=1, max_size=300))
def test_clean_cuts_long_texts_between_words(lengths: list[int]) -> None:
    cleaned = clean(" ".join("w" * length for length in lengths))
    kept = [len(word) for word in cleaned.split()]
    assert kept == lengths[: len(kept)]
    assert len(cleaned) <= MAX_LENGTH
    # As much is kept as there is room for.
    assert kept == lengths or len(cleaned) + 1 + lengths[len(kept)] > MAX_LENGTH


def test_fit_keeps_what_fits() -> None:
    assert fit(SENTENCE, count_words) == SENTENCE


def test_fit_drops_trailing_clauses_then_words() -> None:
    used = count_words(compose(SENTENCE))
    shorter = [fit(SENTENCE, count_words, limit) for limit in range(used - 1, 7, -1)]
    assert list(dict.fromkeys(shorter)) == [
        SENTENCE.replace(", dark corners", ""),
        SENTENCE.replace(", some hair, dark corners", ""),
        SENTENCE.replace(", light pink skin, some hair, dark corners", ""),
        "melanoma, a medium oval dark brown and black lesion at the upper left.",
        "melanoma.",
        "",
    ]


@settings(deadline=None, max_examples=200)
@given(
    texts | st.lists(st.sampled_from(["aa", "bb,", "c;", "!?", ",", "dd.", "é"])).map(" ".join),
    st.integers(8, 40),
    st.integers(1, 5),
)
def test_fit_never_exceeds_the_limit_nor_cuts_a_word(text: str, limit: int, piece: int) -> None:
    def count(prompt: str) -> int:
        rest = prompt.removeprefix(PREFIX.rstrip())
        return 8 + -(-len(rest) // piece)

    fitted = fit(text, count, limit)
    assert count(compose(fitted)) <= limit
    kept = [word.rstrip(",;:.") for word in fitted.split()]
    assert kept == [word.rstrip(",;:.") for word in clean(text).split()][: len(kept)]


def test_fit_takes_counts_that_do_not_fall_with_length() -> None:
    def count(prompt: str) -> int:
        return 5 if prompt.endswith("b.") or prompt == compose(None) else 100

    assert fit("a, b, c, d.", count) == "a, b."


def test_fit_refuses_a_limit_below_the_prefix() -> None:
    with pytest.raises(DidgenError, match="limit of 7 tokens"):
        fit(SENTENCE, count_words, 7)


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
