"""The queue: which samples a reviewer goes through, and in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, Self, get_args
from urllib.parse import urlencode

from didgen.downstream.review.samples import ReviewJob, ReviewSample
from didgen.manifests.choices import Config
from didgen.manifests.reviews.consensus import SampleId, consensus_of
from didgen.manifests.reviews.record import Review

State = Literal["open", "accepted", "rejected", "disputed", "all"]
"""open: without a decision of this reviewer; disputed: reviewers contradict each other."""

Words = Mapping[SampleId, Mapping[str, Review]]
"""By sample and reviewer the last review, as `last_words` gives it."""

PLAN = "plan"
"""The order of the run."""


@dataclass(frozen=True)
class Filter:
    """What is asked of the queue; an empty `config` or `label` is all of them.

    order: `plan`, the name of a score for the least first, or `-NAME` for the largest first.
    """

    config: str = ""
    label: str = ""
    state: State = "open"
    order: str = PLAN

    @classmethod
    def of(cls, query: Mapping[str, str], job: ReviewJob) -> Self:
        """What a query asks for; what the run does not have is as if it were not asked."""
        config, label, state, order = (query.get(field.name, "") for field in fields(cls))
        states: tuple[State, ...] = get_args(State)
        known = {PLAN, *job.scores, *(f"-{name}" for name in job.scores)}
        return cls(
            config if config in job.configs else "",
            label if label in job.classes else "",
            next((one for one in states if one == state), "open"),
            order if order in known else PLAN,
        )

    @property
    def query(self) -> str:
        """The filter as the query of an address."""
        return urlencode({field.name: getattr(self, field.name) for field in fields(self)})


def queue(
    job: ReviewJob, asked: Filter, words: Words, reviewer: str, shown: SampleId | None = None
) -> list[ReviewSample]:
    """The samples that a filter lets through for a reviewer, in its order.

    `shown` stays in its place, though it may have left by a decision. A sample without the score
    that is ordered by stands last.
    """
    found = [
        sample
        for identity, sample in job.samples.items()
        if identity == shown
        or (
            asked.config in ("", sample.config)
            and asked.label in ("", sample.label)
            and _in_state(words.get(identity, {}), asked.state, reviewer)
        )
    ]
    if asked.order == PLAN:
        return found
    name, sign = asked.order.removeprefix("-"), -1 if asked.order.startswith("-") else 1
    return sorted(
        found, key=lambda one: sign * one.scores[name] if name in one.scores else float("inf")
    )


def _in_state(said: Mapping[str, Review], state: State, reviewer: str) -> bool:
    if state == "all":
        return True
    if state == "disputed":
        return bool(said) and consensus_of([*said.values()]).verdict == "disputed"
    mine = said.get(reviewer)
    return mine is None if state == "open" else mine is not None and mine.verdict == state


def beside(
    line: Sequence[ReviewSample], shown: SampleId
) -> tuple[ReviewSample | None, ReviewSample | None]:
    """The samples before and after one that stands in a queue."""
    places = {(one.config, one.key): place for place, one in enumerate(line)}
    place = places[shown]
    before = line[place - 1] if place else None
    return before, line[place + 1] if place + 1 < len(line) else None


def progress(job: ReviewJob, words: Words, reviewer: str) -> dict[Config, dict[str, list[int]]]:
    """By config and class: how many samples this reviewer decided on, and how many there are."""
    found: dict[Config, dict[str, list[int]]] = {}
    for identity, sample in job.samples.items():
        counts = found.setdefault(sample.config, {}).setdefault(sample.label, [0, 0])
        counts[0] += reviewer in words.get(identity, {})
        counts[1] += 1
    return found
