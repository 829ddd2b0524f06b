"""Tests of free sentences: geometry gives way to a layout's, the rest stays, on one lesion."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.augment.prompts.free_sentence import Place, placed
from didgen.augment.prompts.places import places_in
from didgen.augment.prompts.prompt import TOKEN_LIMIT, compose, fit
from didgen.augment.prompts.schema import Position, Shape, Size, Structure
from tests.fixtures.captions import COUNT
from tests.fixtures.free_sentences import FREE, FreeSentence

LAYOUT = Place("large oval", "at the upper right")

KEPT = re.compile(
    r"\b(?:brown|black|pink|red|violet|tan|blue|veil|network|dots|globules|streaks|vessels"
    r"|regression|melanoma|carcinoma|keratosis|dermatofibroma|skin|telangiectasia|pseudopods)\b"
)
"""Colours, structures, classes and skin."""

SECOND = {"smaller pink", "second smaller red"}
"""The colours of a second lesion go with it."""


@pytest.mark.parametrize("free", FREE, ids=lambda free: free.said[:40])
def test_sentences_of_vision_models_agree_with_a_layout(free: FreeSentence) -> None:
    assert placed(free.said, LAYOUT) == free.placed


@pytest.mark.parametrize("free", FREE, ids=lambda free: free.said[:40])
def test_a_placed_sentence_names_one_place_and_loses_nothing_else(free: FreeSentence) -> None:
    got = placed(free.said, LAYOUT)
    assert got.count("large oval") == got.count("at the upper right") == 1
    rest = got.replace("at the upper right", "")
    assert not any(True for _ in places_in(rest))
    lost = set(KEPT.findall(free.said.lower())) - set(KEPT.findall(got.lower()))
    assert not lost or (lost == {"pink"} and any(words in free.said for words in SECOND))
    assert placed(got, LAYOUT) == got
    assert COUNT(compose(fit(got, COUNT))) <= TOKEN_LIMIT


@pytest.mark.parametrize("position", list(Position))
@pytest.mark.parametrize("form", [f"{size} {shape}" for size in Size for shape in Shape])
def test_a_sentence_that_was_placed_is_placed_again(form: str, position: Position) -> None:
    said = "melanoma, a small round brown mole near the left edge, with large dots, on fair skin."
    place = Place(form, f"at the {position}")
    expected = f"melanoma, a {form} brown mole at the {position}, with large dots, on fair skin."
    assert placed(said, place) == expected
    assert placed(placed(said, LAYOUT), place) == expected


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("Fair skin and hair.", "Fair skin and hair."),
        ("black and blue on fair skin.", "black and blue on fair skin."),
        ("melanoma.", "melanoma."),
        ("melanoma, small.", "melanoma, a large oval lesion at the upper right."),
        ("small mole with small dots.", "a large oval mole at the upper right with small dots."),
        ("a medium brown lesion.", "a large oval medium brown lesion at the upper right."),
        ("a medium dark brown lesion.", "a large oval dark brown lesion at the upper right."),
        ("a mole with uneven dots.", "a large oval mole at the upper right with uneven dots."),
        ("a dome-shaped red papule.", "a large oval dome-shaped red papule at the upper right."),
        ("a patch of scale on skin.", "a large oval patch of scale at the upper right on skin."),
        ("three brown moles.", "a large oval brown lesion at the upper right."),
        ("a brown mole and a red papule.", "a large oval brown mole at the upper right."),
        ("A brown mole beside another mole.", "A large oval brown mole at the upper right."),
    ],
)  # fmt: skip
def test_neighbours_of_geometric_words(said: str, becomes: str) -> None:
    assert placed(said, LAYOUT) == becomes


def test_a_layout_without_room_leaves_no_skin_and_no_border() -> None:
    said = "A brown mole with sharp borders and dots, on pink skin, dry skin, with hair."
    assert placed(said, LAYOUT, border=False) == (
        "A large oval brown mole at the upper right and dots, on pink skin, dry skin, with hair."
    )
    assert placed(said, LAYOUT, skin=False) == (
        "A large oval brown mole at the upper right with sharp borders and dots, with hair."
    )


words = st.sampled_from(
    ["a", "small", "round", "brown", "lesion", "at", "the", "left", ",", "with", "dots", "and",
     "irregular", "border", "is", "large", "skin", "upper", "3 o'clock", "of the image", "moles"]
)  # fmt: skip


@given(st.lists(words, min_size=1, max_size=14).map(" ".join))
def test_any_words_come_to_one_place(said: str) -> None:
    got = placed(said, LAYOUT)
    assert len(got) <= len(said) + 60
    if "a lesion" in said:
        assert got.count("at the upper right") == 1
    if "at the upper right" in got:
        assert not any(True for _ in places_in(got.replace("at the upper right", "")))


@given(st.text(max_size=200))
def test_any_text_comes_back_as_one_line(said: str) -> None:
    assert placed(said, LAYOUT).isprintable() or placed(said, LAYOUT) == said


def test_every_structure_is_kept() -> None:
    said = f"a small lesion at the left with {', '.join(Structure)}."
    assert all(structure in placed(said, LAYOUT) for structure in Structure)
