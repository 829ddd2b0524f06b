"""Tests of the consensus: the last words of all reviewers, on the shards that are there."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.errors import DidgenError
from didgen.manifests.reviews.consensus import (
    Consensus,
    consensus_of,
    last_words,
    reviewed,
    summary,
)
from didgen.manifests.reviews.record import Review
from didgen.manifests.shards.index import read_manifest
from tests.fixtures.reviews import BOX, write_reviews

HASH = "a" * 64


def review(reviewer: str, verdict: str, key: str = "k", **fields: Any) -> Review:
    if verdict == "rejected":
        fields = {"reason": "other"} | fields
    given = {"config": "images", "sha256": HASH} | fields
    return Review(reviewer=reviewer, verdict=verdict, key=key, **given)


def said(*reviews: Review) -> Consensus:
    return consensus_of(reviews)


def test_more_accept_than_reject() -> None:
    yes, no = review("A", "accepted"), review("B", "rejected")
    assert said(yes).verdict == "accepted"
    assert said(no).verdict == "rejected"
    assert said(yes, no).verdict == "disputed"
    assert said(yes, no, review("C", "accepted")).verdict == "accepted"
    assert said(yes, no, review("C", "rejected")).verdict == "rejected"


def test_the_class_that_most_give() -> None:
    as_made, mel = review("A", "accepted"), review("B", "accepted", label="MEL")
    assert said(mel) == Consensus("accepted", "MEL")
    assert said(as_made, mel).verdict == "disputed"
    assert said(as_made, mel, review("C", "accepted", label="MEL")) == Consensus("accepted", "MEL")
    assert said(as_made, mel, review("C", "accepted")) == Consensus("accepted", None)


def test_the_outline_that_was_drawn_last() -> None:
    other = (((0, 0), (1, 0), (1, 1)),)
    one = review("A", "accepted", curves=BOX)
    assert said(one, review("B", "accepted")).curves == BOX
    assert said(one, review("B", "accepted", curves=other)).curves == other


def test_the_last_word_of_each_reviewer_counts() -> None:
    lines = [
        review("A", "accepted"),
        review("B", "accepted"),
        review("A", "rejected"),
        review("B", "withdrawn"),
        review("A", "accepted", key="other"),
        review("A", "withdrawn", key="other"),
        review("A", "rejected", key="gone", sha256="b" * 64),
    ]
    assert last_words(lines, [HASH]) == {("images", "k"): {"A": lines[2]}}


@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.sampled_from(["accepted", "rejected", "withdrawn"]))
    )
)
def test_words_are_the_same_whatever_was_said_before(history: list[tuple[str, str]]) -> None:
    lines = [review(name, verdict) for name, verdict in history]
    found = last_words(lines, [HASH]).get(("images", "k"), {})
    last = dict(history)
    assert {name: one.verdict for name, one in found.items()} == {
        name: verdict for name, verdict in last.items() if verdict != "withdrawn"
    }


def test_a_run_without_a_review_of_its_shards_is_refused(run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = read_manifest(own)
    with pytest.raises(DidgenError, match=r"has no review .* run `didgen review .*run` first"):
        reviewed(own, manifest)
    write_reviews(
        own,
        ("images", "images-000000", {"label": "NV"}),
        ("pairs", "pairs-000001", {"curves": BOX}),
        ("pairs", "pairs-000002", {"verdict": "rejected", "reason": "blurred"}),
    )
    found = reviewed(own, manifest)
    assert found["images", "images-000000"] == Consensus("accepted", "NV")
    assert summary(found, ["pairs"]) == (
        "1 of 2 reviewed samples are accepted, 0 with another class, 1 with another outline"
    )
    # The same keys in shards that were made again have been seen by nobody.
    other = manifest.model_copy(
        update={
            "configs": {
                config: [entry.model_copy(update={"sha256": "0" * 64}) for entry in entries]
                for config, entries in manifest.configs.items()
            }
        }
    )
    with pytest.raises(DidgenError, match="has no review of its samples as they are"):
        reviewed(own, other)


def test_a_class_that_the_run_lacks_is_named(run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run, tmp_path / "run"))
    write_reviews(own, ("images", "images-000000", {"label": "FOO"}))
    with pytest.raises(DidgenError, match=r"reviews\.jsonl gives images-000000 the class FOO"):
        reviewed(own, read_manifest(own))
