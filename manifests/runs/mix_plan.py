"""The plan of a mix: which samples stand in which of its shards, in their order.

Notable choices:
- `ratio` is synthetic samples per real training sample: in each class of `images`, over all in
  `pairs`, rounded half up. Where fewer were made, all of them are taken, and the shortage is
  reported.
- Which synthetic samples are taken follows from seed and key alone, so that the choice for a
  smaller ratio is part of that for a larger one.
- Synthetic samples keep the order of their run, so that it is read from front to back.
- The plan lies in a temporary file, so that memory holds one shard of it at a time.
"""

import hashlib
import heapq
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Literal, TypeVar, overload

from didgen.manifests.choices import Config, Split
from didgen.manifests.privacy.pseudonyms import Naming
from didgen.manifests.recipes.mix import MixRecipe
from didgen.manifests.runs.spill import Spill
from didgen.manifests.runs.training_samples import SyntheticSample
from didgen.manifests.shards.shard import check_key
from didgen.manifests.sources.records import SPLITS, SourceManifest

Origin = Literal["real", "synthetic"]

T = TypeVar("T")

BITS = 12
"""First bits of a place, by which places are counted: of 10^8 samples, 24,000 share them."""


@dataclass(frozen=True)
class Item:
    """One sample of a mix before it is written.

    `taken` is the name of the real record, or the key of the synthetic sample in the tar `shard` of
    its run; `source_key` is the real record, or the one whose mask guided a synthetic pair. Real
    records go by the names that they are published by.
    """

    config: Config
    key: str
    label: str
    split: Split
    origin: Origin
    taken: str
    source_key: str
    shard: str = ""
    layout: str = ""

    @property
    def group(self) -> str:
        """Within which the ratio holds: a class of images, or all pairs."""
        return self.label if self.config == "images" else ""


_FIELDS = tuple(field.name for field in fields(Item))
_VALUES = attrgetter(*_FIELDS)


@dataclass(frozen=True)
class PlannedShard:
    """The items of one shard, and its place."""

    config: Config
    split: Split
    index: int
    items: Sequence[Item]


class MixPlan(Sequence[PlannedShard]):
    """The shards of a mix in their order; the items of one are read when it is asked for.

    shards, samples: how many there are, by config and split, and by origin too.
    """

    def __init__(self) -> None:
        self.shards: Counter[tuple[Config, Split]] = Counter()
        self.samples: Counter[tuple[Config, Split, Origin]] = Counter()
        self._spill = Spill()
        self._places: list[tuple[Config, Split, int, int, int]] = []

    def append(self, shard: PlannedShard) -> None:
        """Add a shard; an item with a key that no shard takes is a `DidgenError`."""
        config, split, first = shard.config, shard.split, self._spill.end
        for item in shard.items:
            check_key(item.key)
            self._spill.append(_VALUES(item))
            self.samples[config, split, item.origin] += 1
        self.shards[config, split] += 1
        self._places.append((config, split, shard.index, first, self._spill.end))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> PlannedShard: ...
    @overload
    def __getitem__(self, place: slice) -> list[PlannedShard]: ...
    def __getitem__(self, place: int | slice) -> PlannedShard | list[PlannedShard]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        config, split, index, *ends = self._places[place]
        return PlannedShard(config, split, index, [Item(*row) for row in self._spill.read(*ends)])

    def rows(self) -> Iterator[dict[str, Any]]:
        """All items as the rows of `plan.jsonl`."""
        return (dict(zip(_FIELDS, row, strict=True)) for row in self._spill.read())

    def counts(self) -> dict[Config, dict[Split, int]]:
        """The number of shards of each config and split."""
        counts: dict[Config, dict[Split, int]] = {}
        for (config, split), count in self.shards.items():
            counts.setdefault(config, {})[split] = count
        return counts


def real_items(config: Config, source: SourceManifest, named: Naming) -> list[Item]:
    """The records that have what a config needs: a label for images, a mask for pairs."""
    pairs = {record.key for split in SPLITS for record in source.pairs(split)}
    masked = [record for record in source.records if record.key in pairs]
    records = source.select(labelled=True) if config == "images" else masked
    named_records = ((named(record.key), record) for record in records)
    return [
        Item(config, f"real-{name}", r.label or "", r.split, "real", name, name)
        for name, r in named_records
    ]


def synthetic_items(
    config: Config, samples: Iterable[SyntheticSample], named: Naming
) -> Iterator[Item]:
    """The synthetic samples of a config, in the order of the run."""
    for one in samples:
        yield Item(
            config,
            f"synthetic-{one.key}",
            one.label,
            "train",
            "synthetic",
            one.key,
            named(one.guide),
            one.shard,
            named(one.layout),
        )


def in_order(items: Iterable[Item], split: Split, seed: int) -> list[Item]:
    """The real items of a split in their seeded order."""
    mine = (item for item in items if item.split == split)
    return sorted(mine, key=lambda item: seeded_place(seed, item.key))


def add_config(
    plan: MixPlan,
    recipe: MixRecipe,
    config: Config,
    real: Sequence[Item],
    wanted: Mapping[str, int],
    synthetic: Iterable[Item],
) -> Counter[str]:
    """Add the shards of a config to a plan: its real items, and as many synthetic ones as wanted.

    Returns how many synthetic ones there are to choose from in each group.
    """
    spill, there = Spill(), Counter[str]()
    for item in synthetic:
        spill.append(_VALUES(item))
        there[item.group] += 1

    def generated() -> Iterator[Item]:
        return (Item(*row) for row in spill.read())

    last = last_places(
        wanted, lambda: ((i.group, seeded_place(recipe.seed, i.key)) for i in generated())
    )
    chosen = (
        item
        for item in generated()
        if item.group in last and seeded_place(recipe.seed, item.key) <= last[item.group]
    )
    taken = sum(min(count, there[group]) for group, count in wanted.items())
    for split in SPLITS:
        mine = in_order(real, split, recipe.seed)
        train = split == "train"
        items = interleave(mine, chosen, len(mine), taken) if train else iter(mine)
        for index, part in enumerate(_cut(items, recipe.shard_size)):
            plan.append(PlannedShard(config, split, index, part))
    return there


def _cut(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of a size, the last one shorter."""
    while part := list(islice(items, size)):
        yield part


def wanted_counts(real: Mapping[str, int], ratio: float) -> dict[str, int]:
    """`ratio` times the real training samples of each group, rounded half up."""
    return {group: math.floor(ratio * count + 0.5) for group, count in real.items()}


def seeded_place(seed: int, key: str) -> bytes:
    """A place in a seeded order that does not depend on what else is there."""
    return hashlib.sha256(f"{seed}/{key}".encode()).digest()


def last_places(
    wanted: Mapping[str, int], places: Callable[[], Iterable[tuple[str, bytes]]]
) -> dict[str, bytes]:
    """The last place of each group that is taken, where the first ones are, as many as wanted.

    `places` gives group and place of each sample, and is asked twice. So no list of them is held:
    they are counted by their first bits, and only those about the last place are looked at.
    """
    counts = {group: array("Q", bytes(8 << BITS)) for group in wanted}
    for group, place in places():
        if group in counts:
            counts[group][_first_bits(place)] += 1
    crossings: dict[str, tuple[int, int]] = {}
    for group, left in wanted.items():
        for bits, count in enumerate(counts[group]):
            if left <= count:
                crossings[group] = bits, left
                break
            left -= count
    near: dict[str, list[bytes]] = {group: [] for group in crossings}
    for group, place in places():
        if group in near and _first_bits(place) == crossings[group][0]:
            near[group].append(place)
    # No place is as small as the empty one, and none as large as one that is longer.
    last = dict.fromkeys(wanted, b"\xff" * 33)
    for group, (_, left) in crossings.items():
        last[group] = sorted(near[group])[left - 1] if left else b""
    return last


def _first_bits(place: bytes) -> int:
    return int.from_bytes(place[:4]) >> (32 - BITS)


def interleave(one: Iterable[T], other: Iterable[T], ones: int, others: int) -> Iterator[T]:
    """Both sequences, of the lengths given, as one: each in its own order and spread evenly."""
    merged = heapq.merge(_spread(one, ones), _spread(other, others), key=itemgetter(0))
    return map(itemgetter(1), merged)


def _spread(part: Iterable[T], length: int) -> Iterator[tuple[float, T]]:
    return (((number + 0.5) / length, item) for number, item in enumerate(part))
