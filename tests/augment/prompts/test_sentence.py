"""Tests of sentences: attributes become one and are read back, recombined and thinned."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from didgen.augment.prompts.prompt import clean
from didgen.augment.prompts.schema import (
    Asymmetry,
    Attributes,
    Hair,
    Size,
    Structure,
    Surround,
)
from didgen.augment.prompts.sentence import Free, parse, recombine, render, thin
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from tests.fixtures.attributes import FULL, PLAIN, SENTENCE, UNMARKED, attributes
from tests.fixtures.places import MINI


def test_render_says_everything_in_its_order() -> None:
    assert render(FULL) == SENTENCE


def test_render_says_what_was_added_to_the_schema_later() -> None:
    assert FULL.lesion is not None
    structures = (Structure.PIGMENT_NETWORK, Structure.BLUE_WHITE_VEIL)
    said = {"shape": None, "asymmetry": Asymmetry.ASYMMETRIC, "structures": structures}
    lesion = FULL.lesion.model_copy(update=said)
    surround = FULL.surround.model_copy(update={"ruler": True, "ink": True, "gel_bubbles": True})
    more = FULL.model_copy(update={"lesion": lesion, "surround": surround})
    assert render(more) == (
        "melanoma, a medium dark brown and black lesion at the upper left, asymmetric outline, "
        "sharp border, pigment network, blue-white veil, light pink skin, some hair, dark corners, "
        "ruler marks, ink, gel bubbles."
    )
    assert parse(render(more)) == more


def test_every_caption_of_the_bundled_model_is_still_read_back() -> None:
    captions = [row["caption"] for row in read_json_lines(MINI / "captions.jsonl")]
    for caption in captions:
        attributes = parse(caption)
        assert isinstance(attributes, Attributes) and render(attributes) == caption


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
    ("foreign", "reason"),
    [
        ("", "no full stop"),
        ("A photo of a mole.", "no clause on a lesion"),
        (SENTENCE.removesuffix("."), "no full stop"),
        (SENTENCE + " It itches.", "a clause that the form has not"),
        (SENTENCE.replace("medium", "huge"), "no clause on a lesion"),
        (SENTENCE.replace("at the upper left", "at the left corner"), "no clause on a lesion"),
        (SENTENCE.replace("dark brown and black", "black and black"), "a list"),
        (SENTENCE.replace("melanoma", "mela,noma"), "a diagnosis"),
        (SENTENCE.replace("light pink skin", "skin"), "a clause that the form has not"),
        (SENTENCE.replace("light pink skin", "pink light skin"), "a clause that the form has not"),
        (SENTENCE.replace("some hair", "no hair"), "a clause that the form has not"),
        (SENTENCE.replace("some hair", "dots, dots"), "a clause that the form has not"),
        (SENTENCE.replace("sharp border", "dots, sharp border"), "a clause that the form has not"),
        (SENTENCE.replace("sharp border", "dots, dots"), "a list"),
        ("a lesion, sharp border.", "a clause that the form has not"),
        (SENTENCE.replace("some hair, dark corners", "dark corners, some hair"), "not there"),
    ],
)
def test_parse_says_why_it_refuses_any_other_sentence(foreign: str, reason: str) -> None:
    read = parse(foreign)
    assert isinstance(read, Free) and reason in read.reason


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
    kept = Counter[tuple[str, ...]]()
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
        assert isinstance(read, Attributes)
        assert read.lesion is not None
        assert value.lesion is not None
        assert read.lesion.position == value.lesion.position


@pytest.mark.parametrize("pools", [{}, {"MEL": []}])
def test_recombine_of_an_unknown_class_names_it(pools: dict[str, list[Attributes]]) -> None:
    with pytest.raises(DidgenError, match=r"class MEL .*didgen caption"):
        recombine(pools, "MEL", np.random.default_rng(0))
