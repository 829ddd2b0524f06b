"""Tests of captions as sentences and of the prompts made from them."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from didgen.augment.prompts.prompt import LESION, MAX_LENGTH, PREFIX, SKIN, clean, compose, fit
from didgen.augment.prompts.schema import (
    MAX_COLORS,
    Asymmetry,
    Attributes,
    Border,
    Color,
    Hair,
    Lesion,
    Position,
    Shape,
    Size,
    Surround,
    Tint,
    Tone,
)
from didgen.augment.prompts.sentence import parse, recombine, render, thin
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from tests.fixtures.places import MINI

lesions = st.builds(
    Lesion,
    size=st.sampled_from(Size),
    shape=st.none() | st.sampled_from(Shape),
    colors=st.lists(st.sampled_from(Color), min_size=1, max_size=MAX_COLORS, unique=True).map(
        tuple
    ),
    position=st.sampled_from(Position),
    asymmetry=st.none() | st.sampled_from(Asymmetry),
    border=st.none() | st.sampled_from(Border),
)
surrounds = st.builds(
    Surround,
    tone=st.none() | st.sampled_from(Tone),
    tint=st.none() | st.sampled_from(Tint),
    hair=st.sampled_from(Hair),
    dark_corners=st.booleans(),
    ruler=st.booleans(),
    ink=st.booleans(),
    gel_bubbles=st.booleans(),
)
# Class names made of the caption's own words are the ones that could be misread.
words = st.sampled_from(["a", "lesion", "tan", "skin", "pink", "hair.", "melanoma", "some", "dark"])
diagnoses = st.lists(words, min_size=1, max_size=4).map(" ".join) | st.text(
    st.characters(categories=["L", "N"]), min_size=1, max_size=20
)
attributes = st.builds(
    Attributes,
    diagnosis=st.none() | diagnoses,
    lesion=st.none() | lesions,
    surround=surrounds,
)
UNMARKED = {"dark_corners": False, "ruler": False, "ink": False, "gel_bubbles": False}
PLAIN = Surround(tone=None, tint=None, hair=Hair.NONE, **UNMARKED)
FULL = Attributes(
    diagnosis="melanoma",
    lesion=Lesion(
        size=Size.MEDIUM,
        shape=Shape.OVAL,
        colors=(Color.DARK_BROWN, Color.BLACK),
        position=Position.UPPER_LEFT,
        asymmetry=None,
        border=Border.SHARP,
    ),
    surround=Surround(
        tone=Tone.LIGHT, tint=Tint.PINK, hair=Hair.SOME, **UNMARKED | {"dark_corners": True}
    ),
)
SENTENCE = (
    "melanoma, a medium oval dark brown and black lesion at the upper left, sharp border, "
    "light pink skin, some hair, dark corners."
)
texts = st.text(max_size=300) | st.lists(
    st.sampled_from(
        [LESION, SKIN, "<", ">", "a, b", "\x00", "\u202e", "\n", "les<lesion>ion>", "x;"]
    )
).map("".join)


def count_words(prompt: str) -> int:
    return len(prompt.split()) + 2


def test_render_says_everything_in_its_order() -> None:
    assert render(FULL) == SENTENCE


def test_render_says_what_was_added_to_the_schema_later() -> None:
    assert FULL.lesion is not None
    lesion = FULL.lesion.model_copy(update={"shape": None, "asymmetry": Asymmetry.ASYMMETRIC})
    surround = FULL.surround.model_copy(update={"ruler": True, "ink": True, "gel_bubbles": True})
    more = FULL.model_copy(update={"lesion": lesion, "surround": surround})
    assert render(more) == (
        "melanoma, a medium dark brown and black lesion at the upper left, asymmetric outline, "
        "sharp border, light pink skin, some hair, dark corners, ruler marks, ink, gel bubbles."
    )
    assert parse(render(more)) == more


def test_every_caption_of_the_bundled_model_is_still_read_back() -> None:
    captions = [row["caption"] for row in read_json_lines(MINI / "captions.jsonl")]
    for caption in captions:
        attributes = parse(caption)
        assert attributes is not None and render(attributes) == caption


def test_render_leaves_out_what_is_absent() -> None:
    assert render(Attributes(diagnosis=None, lesion=None, surround=PLAIN)) == "a lesion."


@settings(deadline=None, max_examples=300)
@given(attributes)
@example(Attributes(diagnosis="a lesion", lesion=None, surround=PLAIN))
@example(FULL.model_copy(update={"diagnosis": "a tiny round tan lesion at the top"}))
def test_parse_is_the_inverse_of_render(value: Attributes) -> None:
    caption = render(value)
    assert parse(caption) == value
    assert clean(caption) == caption


@settings(deadline=None, max_examples=100)
@given(attributes.filter(lambda value: value.diagnosis is None))
def test_rendered_captions_are_short_and_without_digits(value: Attributes) -> None:
    caption = render(value)
    assert len(caption.split()) < 40
    assert not re.search(r"\d", caption)
    assert caption == caption.lower()


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "A photo of a mole.",
        SENTENCE.removesuffix("."),
        SENTENCE + " It itches.",
        SENTENCE.replace("medium", "huge"),
        SENTENCE.replace("dark brown and black", "black and black"),
        SENTENCE.replace("light pink skin", "skin"),
        SENTENCE.replace("some hair", "no hair"),
        SENTENCE.replace("some hair, dark corners", "dark corners, some hair"),
    ],
)
def test_parse_refuses_any_other_sentence(foreign: str) -> None:
    assert parse(foreign) is None


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


def test_attributes_refuse_words_outside_the_vocabulary() -> None:
    with pytest.raises(ValidationError):
        Attributes.model_validate({**FULL.model_dump(), "diagnosis": "nevus, atypical"})
    with pytest.raises(ValidationError):
        Lesion.model_validate({**FULL.model_dump()["lesion"], "size": "huge"})
    with pytest.raises(ValidationError):
        Surround.model_validate({**PLAIN.model_dump(), "jewellery": True})


@settings(deadline=None, max_examples=50)
@given(st.lists(attributes, min_size=1, max_size=6), st.integers(0, 2**32))
def test_recombine_joins_an_observed_lesion_and_an_observed_surround(
    observed: list[Attributes], seed: int
) -> None:
    other = FULL.model_copy(update={"diagnosis": "of another class"})
    pools = {"MEL": observed, "NV": [other]}
    made = recombine(pools, "MEL", np.random.default_rng(seed))
    assert (made.diagnosis, made.lesion) in {(a.diagnosis, a.lesion) for a in observed}
    kept = {a.surround for a in observed}
    if made.lesion is not None and made.lesion.size is Size.FRAME_FILLING:
        # A lesion that left no skin to be seen is given none.
        bare = {"tone": None, "tint": None}
        kept |= {surround.model_copy(update=bare) for surround in kept}
    assert made.surround in kept
    assert made == recombine(pools, "MEL", np.random.default_rng(seed))


def test_recombine_mixes_all_pairs_evenly() -> None:
    hairy = Surround(tone=None, tint=None, hair=Hair.DENSE, **UNMARKED)
    observed = [
        Attributes(diagnosis="one", lesion=None, surround=PLAIN),
        Attributes(diagnosis="two", lesion=None, surround=hairy),
    ]
    rng = np.random.default_rng(0)
    seen = Counter(render(recombine({"X": observed}, "X", rng)) for _ in range(400))
    assert len(seen) == 4
    assert min(seen.values()) > 60


def test_thinning_keeps_the_first_clause_and_every_number_of_others_alike() -> None:
    caption = "melanoma, a lesion, pink skin, some hair."
    first, *others = caption.rstrip(".").split(", ")
    rng = np.random.default_rng(0)
    kept = Counter()
    for _ in range(2000):
        thinned = thin(caption, rng)
        assert thinned.endswith(".")
        head, *rest = thinned.rstrip(".").split(", ")
        assert head == first
        assert rest == [clause for clause in others if clause in rest]
        kept[tuple(rest)] += 1
    # A share that is drawn evenly makes all four numbers of clauses as likely (Beta integrals).
    numbers = [sum(n for clauses, n in kept.items() if len(clauses) == k) for k in range(4)]
    assert all(abs(number - 500) < 4 * 500**0.5 for number in numbers)
    assert len(kept) == 2**3


@given(value=attributes)
def test_a_thinned_caption_that_has_its_lesion_is_still_read_back(value: Attributes) -> None:
    caption = render(value)
    thinned = thin(caption, np.random.default_rng(len(caption)))
    if " lesion at the " in thinned:
        read = parse(thinned)
        assert read is not None
        assert read.lesion is not None
        assert value.lesion is not None
        assert read.lesion.position == value.lesion.position


@pytest.mark.parametrize("pools", [{}, {"MEL": []}])
def test_recombine_of_an_unknown_class_names_it(pools: dict[str, list[Attributes]]) -> None:
    with pytest.raises(DidgenError, match=r"class MEL .*didgen caption"):
        recombine(pools, "MEL", np.random.default_rng(0))
