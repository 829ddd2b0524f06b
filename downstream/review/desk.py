"""The desk: a run under review with its log; what decisions and answers do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from pydantic import ValidationError

from didgen.downstream.review.blind_test import BlindTest, blind_test
from didgen.downstream.review.pictures import Pictures
from didgen.downstream.review.queue import Filter, Words, beside, queue
from didgen.downstream.review.samples import ReviewJob, ReviewSample
from didgen.manifests.reviews.consensus import last_words
from didgen.manifests.reviews.log import ReviewLog
from didgen.manifests.reviews.record import ORIGINS, Guess, Review
from didgen.manifests.reviews.redrawn import mask_of

PAGE = 60
"""Thumbnails of one page."""


@dataclass(frozen=True)
class ShownPage:
    """One page of a queue: its samples, its number from 1 on, of how many; who looks."""

    asked: Filter
    reviewer: str
    samples: list[ReviewSample]
    page: int
    pages: int
    count: int
    words: Words


class BadFormError(ValueError):
    """A form that cannot be taken, in one sentence; nothing was saved."""


class Desk:
    """A run that is being reviewed."""

    def __init__(self, job: ReviewJob, images: int, seed: int) -> None:
        self.job, self.log, self.pictures = job, ReviewLog(job.directory), Pictures(job)
        self._images, self._seed = images, seed
        self._test: BlindTest | None = None

    def words(self) -> Words:
        """The last word of each reviewer on each sample."""
        return last_words(self.log.reviews(), self.job.shards)

    def test(self) -> BlindTest:
        """The blind test; raises what `blind_test` raises."""
        if self._test is None:
            self._test = blind_test(self.job, self._images, self._seed)
        return self._test

    def sample(self, config: str, key: str) -> ReviewSample | None:
        """A sample of the run, None where it has no such one."""
        return self.job.samples.get((config, key))  # type: ignore[arg-type]

    def shown(self, asked: Filter, reviewer: str, page: int) -> ShownPage:
        """A page of a queue; one beyond its end is its last page."""
        words = self.words()
        found = queue(self.job, asked, words, reviewer)
        pages = max(-(-len(found) // PAGE), 1)
        page = min(max(page, 1), pages)
        part = found[(page - 1) * PAGE : page * PAGE]
        return ShownPage(asked, reviewer, part, page, pages, len(found), words)

    def around(
        self, sample: ReviewSample, asked: Filter, words: Words, reviewer: str
    ) -> tuple[ReviewSample | None, ReviewSample | None]:
        """The samples before and after one in the queue of a filter."""
        identity = (sample.config, sample.key)
        return beside(queue(self.job, asked, words, reviewer, identity), identity)

    def decide(
        self, sample: ReviewSample, form: Mapping[str, str], asked: Filter, reviewer: str
    ) -> str:
        """Take a decision into the log; returns the address that comes next.

        A form that cannot be taken is a BadFormError.
        """
        review = self._review(sample, form, reviewer)
        _, after = self.around(sample, asked, self.words(), reviewer)
        self.log.append(review)
        onward = sample if review.verdict == "withdrawn" else after
        saved = urlencode({"saved": f"{sample.config}/{sample.key}"})
        if onward is None:
            return f"/samples?{asked.query}&{saved}"
        return f"{address(onward)}?{asked.query}&{saved}"

    def _review(self, sample: ReviewSample, form: Mapping[str, str], reviewer: str) -> Review:
        reason = form.get("reason") or None
        verdict = "rejected" if reason else form.get("verdict", "")
        label = form.get("label", "") if verdict == "accepted" else ""
        if label and label not in self.job.labels:
            raise BadFormError("It cannot be given such a class.")
        try:
            curves = json.loads(form.get("curves") or "[]") if verdict == "accepted" else []
            review = Review(
                reviewer=reviewer,
                config=sample.config,
                key=sample.key,
                sha256=sample.sha256,
                verdict=verdict,
                reason=reason,
                note=" ".join(form.get("note", "").split()),
                label=label if label != sample.label and label else None,
                curves=curves,
            )
        except (ValidationError, ValueError, RecursionError):
            raise BadFormError("The decision cannot be read; nothing was saved.") from None
        if review.curves:
            self._check_outline(sample, review)
        return review

    def _check_outline(self, sample: ReviewSample, review: Review) -> None:
        """Refuse an outline of an image without a mask, and one that holds no pixel."""
        if sample.config != "pairs":
            raise BadFormError("Only pairs have an outline; nothing was saved.")
        width, height = self.pictures.size(sample)
        if not mask_of(review.curves, height, width).any():
            raise BadFormError("The outline holds no pixel; nothing was saved.")

    def answer(self, form: Mapping[str, str], reviewer: str) -> None:
        """Take the answer to the next image of the blind test; any other place is passed by."""
        test = self.test()
        answers = test.answers(self.log.guesses(), reviewer)
        place = len(answers)
        said = next((one for one in ORIGINS if one == form.get("said")), None)
        if said is None:
            raise BadFormError("Answer real or synthetic; nothing was saved.")
        if place < len(test.images) and form.get("place") == str(place):
            shown = test.in_order(reviewer)[place]
            self.log.append(
                Guess(
                    reviewer=reviewer,
                    config=test.config,
                    key=shown.key,
                    test=test.id,
                    place=place,
                    origin=shown.origin,
                    said=said,
                )
            )


def address(sample: ReviewSample) -> str:
    """Where the page of a sample is."""
    return f"/sample/{sample.config}/{sample.key}"
