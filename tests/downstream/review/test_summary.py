"""Tests of the summary that the command prints."""

from pathlib import Path

from didgen.downstream.review.desk import Desk
from didgen.manifests.reviews.log import ReviewLog
from didgen.manifests.reviews.record import Guess
from tests.fixtures.commands import Command
from tests.fixtures.reviews import write_reviews


def test_it_says_what_the_reviewers_say(
    own: Path, desk: Desk, source: Path, command: Command
) -> None:
    asked = ["review", own, "--real", source, "--images", 4, "--summary"]
    assert command(*asked).out == "No sample is reviewed.\n"
    bob = {"reviewer": "Bob"}
    write_reviews(
        own,
        ("images", "images-000000", {}),
        ("images", "images-000000", bob),
        ("images", "images-000001", {"verdict": "rejected", "reason": "blurred"}),
        ("images", "images-000001", bob | {"verdict": "rejected", "reason": "other"}),
        ("pairs", "pairs-000001", {}),
    )
    test, log = desk.test(), ReviewLog(own)
    for place, shown in enumerate(test.in_order("Ada")):
        log.append(
            Guess(
                reviewer="Ada",
                config="images",
                key=shown.key,
                test=test.id,
                place=place,
                origin=shown.origin,
                said="real",
            )
        )
    outcome = command(*asked)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "images: 2 of 10 samples are reviewed: 1 accepted, 1 rejected, 0 disputed.",
        "pairs: 1 of 6 samples are reviewed: 1 accepted, 0 rejected, 0 disputed.",
        "Reasons: blurred 1, other 1",
        "Cohen's kappa of Ada, Bob on the verdict of 2 images: 1.00 (1.00 to 1.00).",
        "Cohen's kappa of Ada, Bob on the class of 1 images: undefined: one category alone.",
        # Both shares are 0.5 / 3: z -0.967, and the standard error of d' 1.492.
        (
            "Blind test, Ada: 2 of 4 right, accuracy 0.50 (0.15 to 0.85), p of guessing 1.000, d' "
            "0.00 (-2.92 to 2.92)."
        ),
    ]
