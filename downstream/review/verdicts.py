"""Verdicts: how the reviewers of a run agree, and how much of it they accept."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from didgen.downstream.review.queue import Words
from didgen.downstream.stats.agreement import Kappa, cohen, fleiss
from didgen.manifests.choices import Config
from didgen.manifests.reviews.consensus import consensus_of
from didgen.manifests.reviews.record import Review


@dataclass(frozen=True)
class Agreement:
    """A kappa of named reviewers, on the verdicts or on the classes of a config's samples."""

    config: Config
    about: str
    reviewers: tuple[str, ...]
    statistic: str
    kappa: Kappa


def agreements(words: Words, labels: Mapping[tuple[Config, str], str]) -> list[Agreement]:
    """Cohen's kappa of each two reviewers, and Fleiss' kappa of all of three or more.

    labels: the class each sample was made for. Each kappa is over the samples of one config that
    all of its reviewers decided on; classes are compared where all accept.
    """
    found = []
    for config in dict.fromkeys(config for config, _ in words):
        for about, ratings in _ratings(words, labels, config).items():
            names = sorted({name for said in ratings for name in said})
            groups = [*combinations(names, 2), *([tuple(names)] if len(names) > 2 else [])]
            for group in groups:
                shared = [
                    [said[name] for name in group] for said in ratings if said.keys() >= {*group}
                ]
                if shared:
                    pair = len(group) == 2
                    one, other = zip(*shared, strict=True) if pair else ((), ())
                    kappa = cohen(one, other) if pair else fleiss(shared)
                    name = "Cohen's kappa" if pair else "Fleiss' kappa"
                    found.append(Agreement(config, about, group, name, kappa))
    return found


def _ratings(
    words: Words, labels: Mapping[tuple[Config, str], str], config: Config
) -> dict[str, list[dict[str, str]]]:
    """By what is rated: of each sample the rating of each reviewer."""
    said = [(labels.get(one, ""), words[one]) for one in words if one[0] == config]
    return {
        "verdict": [{name: r.verdict for name, r in mine.items()} for _, mine in said],
        "class": [
            {name: r.label or made for name, r in mine.items() if r.verdict == "accepted"}
            for made, mine in said
            if made
        ],
    }


def outcomes(words: Words) -> dict[Config, Counter[str]]:
    """By config how many samples are accepted, rejected and disputed."""
    counts: dict[Config, Counter[str]] = {}
    for (config, _), said in words.items():
        counts.setdefault(config, Counter())[consensus_of([*said.values()]).verdict] += 1
    return counts


def reasons(words: Words) -> Counter[str]:
    """How often each reason was given for a rejection."""
    return Counter(review.reason for review in _all(words) if review.reason)


def _all(words: Words) -> Iterator[Review]:
    return (review for said in words.values() for review in said.values())
