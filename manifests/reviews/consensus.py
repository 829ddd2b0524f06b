"""Consensus: what the reviewers of a run say of each sample together.

Notable choices:
- The last word of each reviewer counts, and it is of one shard: where that was made again, nobody
  has seen its samples.
- A sample is accepted where more reviewers accept than reject it, and more of them say one class
  than any other. Everything else is disputed or rejected, and trained on by nobody.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.reviews.log import LOG_NAME, ReviewLog
from didgen.manifests.reviews.record import Curves, Review
from didgen.manifests.shards.index import Manifest

SampleId: TypeAlias = tuple[Config, str]
"""A sample of a run: its config and its key."""


@dataclass(frozen=True)
class Consensus:
    """What the reviewers of a sample say together.

    label: the class they give it, None for the one it was made for; curves: the outline that was
    drawn last by one who accepts it, empty where nobody drew any.
    """

    verdict: Literal["accepted", "rejected", "disputed"]
    label: str | None = None
    curves: Curves = ()


def last_words(
    reviews: Iterable[Review], shards: Iterable[str]
) -> dict[SampleId, dict[str, Review]]:
    """By sample and reviewer the last review that is of one of the shards, given by their hashes.

    What was withdrawn is none; a sample without any is left out.
    """
    there = {*shards}
    words: dict[SampleId, dict[str, Review]] = defaultdict(dict)
    for review in reviews:
        if review.sha256 in there:
            said = words[review.config, review.key]
            # Taken out first, so that the order is that of the last words.
            said.pop(review.reviewer, None)
            if review.verdict != "withdrawn":
                said[review.reviewer] = review
    return {sample: said for sample, said in words.items() if said}


def consensus_of(reviews: Sequence[Review]) -> Consensus:
    """What reviews of one sample say together, one a reviewer, the latest last."""
    accepting = [review for review in reviews if review.verdict == "accepted"]
    rejecting = len(reviews) - len(accepting)
    if len(accepting) <= rejecting:
        return Consensus("disputed" if len(accepting) == rejecting else "rejected")
    labels = Counter(review.label for review in accepting).most_common(2)
    if len(labels) == 2 and labels[0][1] == labels[1][1]:
        return Consensus("disputed")
    drawn = [review.curves for review in accepting if review.curves]
    return Consensus("accepted", labels[0][0], drawn[-1] if drawn else ())


def reviewed(directory: Path, run: Manifest) -> dict[SampleId, Consensus]:
    """The consensus on each sample of a finished run that has a review.

    No review at all, and a class that the run does not have, are each a `DidgenError`.
    """
    shards = (entry.sha256 for entries in run.configs.values() for entry in entries)
    words = last_words(ReviewLog(directory).reviews(), shards)
    if not words:
        raise DidgenError(
            f"{directory} has no review of its samples as they are; run `didgen review "
            f"{directory}` first."
        )
    found = {sample: consensus_of([*said.values()]) for sample, said in words.items()}
    for (_, key), consensus in found.items():
        if consensus.label is not None and consensus.label not in run.classes:
            raise DidgenError(
                f"{directory / LOG_NAME} gives {key} the class {consensus.label}, which the run "
                "does not have; correct the line."
            )
    return found


def summary(found: Mapping[SampleId, Consensus], configs: Iterable[Config]) -> str:
    """How many samples of some configs are accepted, and how many of these corrected, in words."""
    asked = {*configs}
    of = [consensus for (config, _), consensus in found.items() if config in asked]
    accepted = [one for one in of if one.verdict == "accepted"]
    relabelled = sum(one.label is not None for one in accepted)
    redrawn = sum(bool(one.curves) for one in accepted)
    return (
        f"{len(accepted)} of {len(of)} reviewed samples are accepted, {relabelled} with another "
        f"class, {redrawn} with another outline"
    )
