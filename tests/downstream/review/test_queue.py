"""Tests of the queue: who sees which samples, in which order."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from didgen.downstream.review.queue import Filter, State, beside, progress, queue
from didgen.downstream.review.samples import ReviewJob, ReviewSample, prepare_review
from didgen.manifests.reviews.consensus import SampleId, last_words
from didgen.manifests.reviews.record import Review

HASH = "a" * 64


@pytest.fixture(scope="module")
def job(run: Path) -> ReviewJob:
    """The run of noise with a score that falls with the number, which two samples lack."""
    from dataclasses import replace

    job = prepare_review(run)
    samples = {
        identity: replace(sample, scores={"contrast": -float(place)} if place > 1 else {})
        for place, (identity, sample) in enumerate(job.samples.items())
    }
    return replace(job, samples=samples)


def said(sample: ReviewSample, name: str, verdict: str) -> Review:
    reason = "other" if verdict == "rejected" else None
    return Review(
        reviewer=name,
        config=sample.config,
        key=sample.key,
        sha256=sample.sha256,
        verdict=verdict,
        reason=reason,
    )


def keys(samples: Iterable[ReviewSample]) -> list[str]:
    return [sample.key for sample in samples]


def test_filters_are_read_from_a_query_and_written_into_one(job: ReviewJob) -> None:
    from urllib.parse import parse_qsl

    asked = Filter("pairs", "MEL", "all", "-contrast")
    assert Filter.of(dict(parse_qsl(asked.query)), job) == asked
    hostile = {"config": "../x", "label": "<b>", "state": "1", "order": "prompt"}
    assert Filter.of(hostile, job) == Filter() == Filter.of({}, job)


def test_by_kind_class_and_order(job: ReviewJob) -> None:
    assert len(queue(job, Filter(), {}, "Ada")) == 16
    assert keys(queue(job, Filter("pairs", "BCC"), {}, "Ada")) == [
        "pairs-000001",
        "pairs-000003",
        "pairs-000005",
    ]
    least = keys(queue(job, Filter("images", order="contrast"), {}, "Ada"))
    assert least[:2] == ["images-000009", "images-000008"]
    largest = keys(queue(job, Filter("images", order="-contrast"), {}, "Ada"))
    assert largest[0] == "images-000002"
    # Those without the score stand last, in both orders.
    assert least[-2:] == largest[-2:] == ["images-000000", "images-000001"]


def test_by_what_was_decided(job: ReviewJob) -> None:
    one, two, three, *_ = job.samples.values()
    lines = [
        said(one, "Ada", "accepted"),
        said(two, "Ada", "rejected"),
        said(two, "Bob", "accepted"),
        said(three, "Bob", "accepted"),
    ]
    words = last_words(lines, job.shards)

    def found(state: State, name: str) -> list[str]:
        return keys(queue(job, Filter("images", state=state), words, name))

    assert found("accepted", "Ada") == [one.key] and found("rejected", "Ada") == [two.key]
    assert found("disputed", "Ada") == found("disputed", "Bob") == [two.key]
    assert found("open", "Ada")[:2] == [three.key, "images-000003"]
    assert found("open", "Bob")[0] == one.key and len(found("all", "Bob")) == 10
    assert progress(job, words, "Ada")["images"] == {"MEL": [1, 5], "BCC": [1, 5]}


def test_what_stands_beside_a_sample(job: ReviewJob) -> None:
    line = queue(job, Filter("pairs"), {}, "Ada")
    first, second, *_, last = line
    assert beside(line, ("pairs", first.key)) == (None, second)
    assert beside(line, ("pairs", second.key)) == (first, line[2])
    assert beside(line, ("pairs", last.key)) == (line[-2], None)


def test_a_sample_that_is_shown_stays_in_its_place(job: ReviewJob) -> None:
    one, two, three, *_ = job.samples.values()
    words = last_words([said(two, "Ada", "accepted")], job.shards)
    identity: SampleId = ("images", two.key)
    assert two not in queue(job, Filter(), words, "Ada")
    assert beside(queue(job, Filter(), words, "Ada", identity), identity) == (one, three)
