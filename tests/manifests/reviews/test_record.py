"""Tests of reviews and guesses: what a line may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from didgen.manifests.reviews.record import LINE, Guess, Review

GIVEN = {"reviewer": "Ada", "config": "pairs", "key": "pair-1", "sha256": "a" * 64}
TRIANGLE = (((0, 0), (1, 0), (0, 1)),)


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": "accepted"},
        {"verdict": "accepted", "label": "MEL", "curves": TRIANGLE},
        {"verdict": "rejected", "reason": "blurred", "note": "all of it"},
        {"verdict": "withdrawn"},
    ],
)
def test_a_line_comes_back_as_it_was(fields: dict[str, Any]) -> None:
    review = Review(**GIVEN, **fields)
    assert LINE.validate_json(review.model_dump_json(exclude_none=True)) == review


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": "maybe"},
        {"verdict": "rejected"},
        {"verdict": "rejected", "reason": "ugly"},
        {"verdict": "accepted", "reason": "blurred"},
        {"verdict": "rejected", "reason": "blurred", "label": "MEL"},
        {"verdict": "withdrawn", "curves": TRIANGLE},
        {"verdict": "accepted", "curves": (((0, 0), (1, 1)),)},
        {"verdict": "accepted", "curves": (((0, 0), (1, 1), (1.1, 0)),)},
        {"verdict": "accepted", "curves": (((0, 0), (1, 1), (float("nan"), 0)),)},
        {"verdict": "accepted", "curves": TRIANGLE * 21},
        {"verdict": "accepted", "note": "x" * 501},
        {"verdict": "accepted", "reviewer": " Ada"},
        {"verdict": "accepted", "sha256": "a"},
        {"verdict": "accepted", "further": 1},
    ],
)
def test_what_is_no_review_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Review(**GIVEN | fields)


def test_a_guess_is_told_from_a_review() -> None:
    guess = Guess(
        reviewer="Ada",
        config="images",
        key="a",
        test="f00d",
        place=0,
        origin="real",
        said="synthetic",
    )
    assert LINE.validate_json(guess.model_dump_json()) == guess
