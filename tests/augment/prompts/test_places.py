"""Tests of places: free sentences turn with their images, or keep them from being turned."""

import re
from math import cos, pi, sin

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from didgen.augment.finetuning.dataset import ORIENTATIONS, orient
from didgen.augment.prompts.places import places_in, turn_words, turned
from didgen.augment.prompts.schema import Position
from tests.fixtures.attributes import SENTENCE
from tests.fixtures.free_sentences import FREE, FreeSentence

DIHEDRAL = ORIENTATIONS["dihedral"]
EVEN = [(turns, mirrored) for turns, mirrored in DIHEDRAL if turns % 2 == 0]


def seen_at(row: int, column: int, turns: int, mirrored: bool) -> tuple[int, int]:
    """Where a pixel of a 3 x 3 image comes to lie: the oracle is the image itself."""
    image = torch.zeros(3, 3)
    image[row, column] = 1
    ((row, column),) = orient(image, turns, mirrored).nonzero().tolist()
    return row, column


@pytest.mark.parametrize("free", FREE, ids=lambda free: free.said[:40])
def test_sentences_of_vision_models_turn(free: FreeSentence) -> None:
    assert turn_words(free.said, 0, True) == free.mirrored
    assert turn_words(free.said, 1, False) == free.quarter
    assert turn_words(free.said, 4, False) == free.said


@pytest.mark.parametrize(("turns", "mirrored"), DIHEDRAL)
@pytest.mark.parametrize("place", list(Position))
def test_a_place_goes_where_its_pixel_goes(place: Position, turns: int, mirrored: bool) -> None:
    cells = list(Position)
    row, column = seen_at(*divmod(cells.index(place), 3), turns, mirrored)
    there = cells[3 * row + column]
    said = "A mole at the {} of the picture, round."
    assert turn_words(said.format(place), turns, mirrored) == said.format(there)
    measured = SENTENCE.replace("upper left", place)
    assert turned(measured, turns, mirrored) == measured.replace(place, there)


@pytest.mark.parametrize(("turns", "mirrored"), DIHEDRAL)
@pytest.mark.parametrize("hour", range(1, 13))
def test_an_hour_goes_where_its_point_goes(hour: int, turns: int, mirrored: bool) -> None:
    x, y = sin(hour * pi / 6), cos(hour * pi / 6)
    for _ in range(turns):
        x, y = -y, x
    x = -x if mirrored else x
    there = round(np.arctan2(x, y) / (pi / 6)) % 12 or 12
    assert turn_words(f"dots at {hour} o'clock.", turns, mirrored) == f"dots at {there} o'clock."


@pytest.mark.parametrize(
    ("said", "mirrored", "quarter"),
    [
        # Compounds, in either order and with any joint.
        ("bottom-right corner", "bottom-left corner", "top-right corner"),
        ("the left upper quadrant", "the right upper quadrant", "the left lower quadrant"),
        ("the top left-hand corner", "the top right-hand corner", "the bottom left-hand corner"),
        ("an upper left spot", "an upper right spot", "a lower left spot"),
        ("Upper-right area", "Upper-left area", "Upper-left area"),
        ("UPPER LEFT", "UPPER RIGHT", "LOWER LEFT"),
        # Compass, by point and by adjective.
        ("in the north-west", "in the north-east", "in the south-west"),
        ("a southeastern rim", "a southwestern rim", "a northeastern rim"),
        ("the eastern edge", "the western edge", "the northern edge"),
        # Anatomy's words for up and down turn like them.
        ("an inferior edge", "an inferior edge", "a right edge"),
        ("the superior left pole", "the superior right pole", "the inferior left pole"),
        # Relations.
        ("slightly right of center", "slightly left of center", "slightly above center"),
        ("hair above the mole", "hair above the mole", "hair to the left of the mole"),
        ("ink to the left of it", "ink to the right of it", "ink below it"),
        ("on the left of the image", "on the right of the image", "on the bottom of the image"),
        # Clocks.
        ("from 10 to 2 o'clock", "from 10 to 2 o'clock", "from 7 to 11 o'clock"),
        ("at the 3-o'clock position", "at the 9-o'clock position", "at the 12-o'clock position"),
        ("at Three o\u2019clock", "at Nine o\u2019clock", "at Twelve o\u2019clock"),
        ("at 1:30 o'clock", "at 10:30 o'clock", "at 10:30 o'clock"),
        ("at 2, 5 and 9 o'clock", "at 3, 7 and 10 o'clock", "at 11, 2 and 6 o'clock"),
        ("3 o'clock to 5 o'clock", "7 o'clock to 9 o'clock", "12 o'clock to 2 o'clock"),
        # Axes.
        ("a horizontal band", "a horizontal band", "a vertical band"),
        ("vertically oriented", "vertically oriented", "horizontally oriented"),
        ("taller than wide", "taller than wide", "wider than tall"),
        ("lines turn clockwise", "lines turn counterclockwise", "lines turn clockwise"),
        # What lies in no direction.
        ("in the center, at an edge", "in the center, at an edge", "in the center, at an edge"),
        # Other senses.
        ("a scar left by surgery", "a scar left by surgery", "a scar left by surgery"),
        ("on the left lower leg", "on the left lower leg", "on the left lower leg"),
        ("right side of the nose", "right side of the nose", "right side of the nose"),
        ("right next to hair", "right next to hair", "right next to hair"),
        ("at a right angle", "at a right angle", "at a right angle"),
        ("of lower contrast", "of lower contrast", "of lower contrast"),
        ("scale on top of it", "scale on top of it", "scale on top of it"),
        ("raised above the skin", "raised above the skin", "raised above the skin"),
        ("made up of clods", "made up of clods", "made up of clods"),
        ("dermoscopy close-up", "dermoscopy close-up", "dermoscopy close-up"),
        ("East Asian skin", "East Asian skin", "East Asian skin"),
        # Both in one.
        ("left arm, at the left", "left arm, at the right", "left arm, at the bottom"),
        ("right at the top", "right at the top", "right at the left"),
    ],
)  # fmt: skip
def test_words_of_place_and_their_neighbours(said: str, mirrored: str, quarter: str) -> None:
    assert turn_words(said, 0, True) == mirrored
    assert turn_words(said, 1, False) == quarter


@pytest.mark.parametrize(
    "said",
    [
        "streaks at the lateral margin",
        "the medial third is blue",
        "a superolateral notch",
        "veil in the first quadrant",
        "tilted by 45 degrees",
        "the left-sided rim",
        "a darker area on top",
        "the axis points up",
        "upside down",
        "it lies high in the frame",
        "skin is what is left",
        "at thirteen o'clock",
        "at 10:30",
        "ein Fleck oben links mit einer dunklen Kante",
        "un nevo en la parte superior con los bordes oscuros y las manchas",
        "\u0440\u043e\u0434\u0438\u043d\u043a\u0430 \u0441\u043b\u0435\u0432\u0430",
    ],
)
def test_a_place_that_cannot_be_turned_keeps_the_image_as_it_is(said: str) -> None:
    assert all(turn_words(said, *orientation) is None for orientation in DIHEDRAL[1:])
    assert turn_words(said, 0, False) == said


words = st.sampled_from(
    ["upper", "left", "lower-right", "top", "north", "western", "the", "at", "3 o'clock", "mole",
     "above", "of", "to the right of", "superior", ",", "rim", "an", "from 1 to 4 o'clock"]
)  # fmt: skip


@given(st.lists(words, max_size=12).map(" ".join), st.sampled_from(EVEN))
def test_a_mirror_and_a_half_turn_undo_themselves(said: str, orientation: tuple[int, bool]) -> None:
    once = turn_words(said, *orientation)
    # "Left at" becomes "right at", which is an adverb and stays.
    if once is not None and not re.search(r"\bna? |\bleft at\b", said):
        back = turn_words(once, *orientation)
        assert back is not None
        assert _without_articles(back) == _without_articles(said)


@given(st.text(max_size=120), st.sampled_from(DIHEDRAL))
def test_any_text_is_turned_or_refused(said: str, orientation: tuple[int, bool]) -> None:
    got = turn_words(said, *orientation)
    if got != said:
        assert got is None or any(True for _ in places_in(said))


def _without_articles(text: str) -> str:
    return re.sub(r"\ban?\b ", "", text.lower())
