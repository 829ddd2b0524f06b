"""Subsets: the k of a source's records that a scale of scarcity keeps, nested in k."""

import hashlib
from collections.abc import Iterable, Sequence


def rank(seed: int | Sequence[int], kind: str, key: str) -> bytes:
    """Where a key stands in the seeded order of its kind: a hash, so that no list decides it."""
    numbers = [seed] if isinstance(seed, int) else seed
    text = "\n".join((",".join(map(str, numbers)), kind, key))
    return hashlib.sha256(text.encode()).digest()


def subset(keys: Iterable[str], count: int, seed: int | Sequence[int]) -> set[str]:
    """The first `count` keys in the seeded order; those of a smaller count are among them."""
    return set(sorted(keys, key=lambda key: rank(seed, "pair", key))[:count])
