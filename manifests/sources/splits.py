"""Splits: patients and lesions dealt to train, val and test so that none is in two of them."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SPLITS, UNLABELLED

Fractions = tuple[float, float, float]
"""The share of the images that goes to train, val and test; the three sum to one."""


def check_fractions(fractions: Fractions) -> None:
    """Raise a `DidgenError` unless there are three fractions, none negative, summing to one."""
    sound = len(fractions) == len(SPLITS) and all(0 <= share <= 1 for share in fractions)
    if not sound or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise DidgenError(
            f"The split fractions {', '.join(map(str, fractions))} are not three shares that sum "
            "to 1; give train, val and test such as 0.8, 0.1, 0.1."
        )


def group_of(lesion_id: str, patient_id: str | None) -> str:
    """The group that is dealt as one: a patient where known, else a lesion.

    No lesion id has a line break, so that no patient is taken for a lesion of the same name.
    """
    return lesion_id if patient_id is None else f"patient\n{patient_id}"


def in_words(group: str) -> str:
    """A group as a sentence names it."""
    kind, _, name = group.rpartition("\n")
    return f"the patient {name}" if kind else f"the lesion {name}"


def split_groups(
    images: Iterable[tuple[str, str | None]],
    *,
    seed: int,
    fractions: Fractions,
    training: Container[str] = (),
) -> dict[str, Split]:
    """Deal groups to splits from one (group, label) pair an image; returns group -> split.

    A group is dealt whole. Each class is dealt on its own, so that its images meet the fractions
    as closely as whole groups allow, and a class of three groups or more reaches every split whose
    fraction is not zero. A group's class is the label most of its images carry, the first by name
    if two tie. Groups in `training` go to train whatever its fraction. The result depends on the
    seed and on the set of pairs, not on their order.
    """
    check_fractions(fractions)
    members: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group, label in images:
        members[group][UNLABELLED if label is None else label] += 1
    strata: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for group, labels in members.items():
        stratum = min(labels, key=lambda label: (-labels[label], label))
        strata[stratum][group] = labels.total()
    return {
        group: split
        for _, sizes in sorted(strata.items())
        for group, split in _deal(sizes, seed, fractions, training).items()
    }


def _deal(
    sizes: dict[str, int], seed: int, fractions: Fractions, training: Container[str]
) -> dict[str, Split]:
    """Deal the groups of one class, given group -> number of images."""
    total = sum(sizes.values())
    places = [place for place, share in enumerate(fractions) if share > 0]
    targets = _rounded([share * total for share in fractions])
    dealt: dict[str, Split] = {group: "train" for group in sizes if group in training}
    counts = [0] * len(SPLITS)
    counts[SPLITS.index("train")] = sum(sizes[group] for group in dealt)
    # Large groups first: the single images at the end then fill each split to its number.
    rest = sizes.keys() - dealt.keys()
    queue = sorted(rest, key=lambda group: (-sizes[group], _draw(seed, group)))
    for position, group in enumerate(queue):
        size = sizes[group]
        empty = [place for place in places if not counts[place]]
        fitting = [place for place in places if counts[place] + size <= targets[place]]
        if len(queue) - position <= len(empty):
            place = max(empty, key=lambda place: fractions[place])
        elif fitting:
            # The emptiest relative to its share, so that large groups spread over all splits.
            place = min(fitting, key=lambda place: counts[place] / fractions[place])
        else:
            place = max(places, key=lambda place: targets[place] - counts[place])
        counts[place] += size
        dealt[group] = SPLITS[place]
    return dealt


def _rounded(shares: Sequence[float]) -> list[int]:
    """Round shares to whole numbers with the same sum, by largest remainder."""
    # The shares come from a product of floats: 0.8 * 10 must not round down to 7.
    whole = [math.floor(share + 1e-9) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: whole[i] - shares[i])
    for place in by_remainder[: round(sum(shares)) - sum(whole)]:
        whole[place] += 1
    return whole


def _draw(seed: int, group: str) -> bytes:
    """A reproducible random rank that no library's generator can change."""
    return hashlib.sha256(f"{seed}\n{group}".encode()).digest()
