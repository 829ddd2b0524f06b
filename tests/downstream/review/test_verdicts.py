"""Tests of agreements: over what all of their reviewers decided on."""

from didgen.downstream.review.queue import Words
from didgen.downstream.review.verdicts import agreements, outcomes, reasons
from didgen.manifests.reviews.consensus import SampleId, last_words
from didgen.manifests.reviews.record import Review

HASH = "a" * 64


def words(*said: tuple[str, str, str]) -> Words:
    """By (reviewer, key, verdict, reason or class)."""
    lines = []
    for name, key, what in said:
        fields = {"verdict": "accepted"}
        if what == "no":
            fields = {"verdict": "rejected", "reason": "blurred"}
        elif what != "yes":
            fields["label"] = what
        lines.append(Review(reviewer=name, config="images", key=key, sha256=HASH, **fields))
    return last_words(lines, [HASH])


LABELS: dict[SampleId, str] = {("images", key): "MEL" for key in "abcd"}


def test_two_are_compared_by_cohen_on_what_both_saw() -> None:
    found = agreements(
        words(
            ("A", "a", "yes"),
            ("B", "a", "yes"),
            ("A", "b", "no"),
            ("B", "b", "no"),
            ("A", "c", "yes"),
        ),
        LABELS,
    )
    verdict, label = found
    assert (verdict.about, verdict.reviewers, verdict.statistic) == (
        "verdict",
        ("A", "B"),
        "Cohen's kappa",
    )
    assert (verdict.kappa.n, verdict.kappa.value) == (2, 1.0)
    assert (label.about, label.kappa.n, label.kappa.value) == ("class", 1, None)


def test_three_are_compared_by_fleiss_too() -> None:
    said = [(name, key, "no" if key == "a" else "yes") for name in "ABC" for key in "abcd"]
    found = [one for one in agreements(words(*said), LABELS) if one.about == "verdict"]
    assert [one.reviewers for one in found] == [("A", "B"), ("A", "C"), ("B", "C"), ("A", "B", "C")]
    assert found[-1].statistic == "Fleiss' kappa"
    assert (found[-1].kappa.n, found[-1].kappa.value) == (4, 1.0)


def test_classes_are_compared_where_all_accept() -> None:
    found = agreements(
        words(
            ("A", "a", "NV"),
            ("B", "a", "yes"),
            ("A", "b", "yes"),
            ("B", "b", "yes"),
            ("A", "c", "no"),
            ("B", "c", "NV"),
        ),
        LABELS,
    )
    (label,) = (one for one in found if one.about == "class")
    assert (label.kappa.n, label.kappa.observed) == (2, 0.5)


def test_outcomes_and_reasons_are_counted() -> None:
    said = words(("A", "a", "yes"), ("B", "a", "no"), ("A", "b", "no"), ("A", "c", "NV"))
    assert outcomes(said) == {"images": {"disputed": 1, "rejected": 1, "accepted": 1}}
    assert reasons(said) == {"blurred": 2}
    assert agreements({}, {}) == [] and outcomes({}) == {}
