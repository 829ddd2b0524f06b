"""The tally: what the sidecars of a run say together, from one pass, however many they are."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from didgen.manifests.choices import Config, Split
from didgen.manifests.recipes.fields import DRAWN, FOREIGN
from didgen.manifests.shards.index import FailureEntry
from didgen.manifests.shards.shard import Sidecar, split_of

FAILURES = 100
"""Failures that are kept one by one, the first ones; the sidecars have all."""

EXAMPLES = 8
"""Samples of which rejected tries are kept, the first ones."""

PROMPTS = 3
"""Prompts that are kept, the first ones that differ."""

KINDS = 1000
"""Kinds of reasons that are counted apart, more than didgen has; the rest count as `OTHERS`."""

OTHERS = "other reasons"

FIGURE = re.compile(r"-?\d+(\.\d+)?")
"""The part of a reason that is of one sample alone."""


@dataclass
class Tally:
    """Sums over the sidecars that were added, and the first few of what is shown one by one.

    samples: those in the shards, by config, split, origin and label; the origin is empty but in a
    mix, the label where there is none. layouts: pairs by the origin of their mask, which is "real",
    "drawn" or "source". reasons, rejections: failures and rejected tries by the kind of their
    reason. tried: the samples with rejected tries. versions: each value recorded under a name.
    """

    samples: Counter[tuple[Config, Split, str, str]] = field(default_factory=Counter)
    shards: Counter[tuple[Config, Split]] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    rejections: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    failed: list[FailureEntry] = field(default_factory=list)
    tried: int = 0
    examples: list[tuple[str, list[str]]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    redraws: int = 0
    bytes: int = 0
    seconds: float = 0.0
    versions: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, sidecars: Iterable[Sidecar]) -> Self:
        """The tally of some sidecars."""
        tally = cls()
        for sidecar in sidecars:
            tally.add(sidecar)
        return tally

    def add(self, sidecar: Sidecar) -> None:
        """Count one more sidecar."""
        split = split_of(sidecar.shard)
        self.shards[sidecar.config, split] += 1
        self.bytes += sidecar.bytes
        self.seconds += sidecar.timings.get("make", 0)
        for name, value in sidecar.versions.items():
            self.versions.setdefault(name, set()).add(value)
        kept: Counter[tuple[str, str]] = Counter()
        for row in sidecar.rows:
            self.redraws += row.get("redraws", 0)
            if rejected := row.get("rejected"):
                self._reject(row["key"], rejected)
            if row["status"] == "failed":
                self._fail(sidecar, row)
                continue
            kept[str(row.get("origin") or ""), str(row.get("label") or "")] += 1
            if len(self.prompts) < PROMPTS:
                self._quote(row.get("prompt"))
            if sidecar.config == "pairs":
                self.layouts[_layout(row)] += 1
        for (origin, label), count in kept.items():
            self.samples[sidecar.config, split, origin, label] += count

    def _fail(self, sidecar: Sidecar, row: Mapping[str, Any]) -> None:
        reason = str(row.get("reason", ""))
        self.failures += 1
        _count(self.reasons, reason)
        if len(self.failed) < FAILURES:
            config, shard, key = sidecar.config, sidecar.shard, row["key"]
            self.failed.append(FailureEntry(config=config, shard=shard, key=key, reason=reason))

    def _reject(self, key: str, reasons: Iterable[object]) -> None:
        texts = [str(reason) for reason in reasons]
        self.tried += 1
        for text in texts:
            _count(self.rejections, text)
        if len(self.examples) < EXAMPLES:
            self.examples.append((key, texts))

    def _quote(self, prompt: object) -> None:
        if isinstance(prompt, str) and prompt and prompt not in self.prompts:
            self.prompts.append(prompt)

    @property
    def configs(self) -> list[Config]:
        """The configs that have a shard, in the order they were added."""
        return list(dict.fromkeys(config for config, _ in self.shards))

    def missing(self, config: Config) -> dict[Split, list[str]]:
        """The classes of a config of which one split has no sample and another has, by the one."""
        there: dict[Split, set[str]] = {
            split: set() for (one, split) in self.shards if one == config
        }
        for (one, split, _, label), count in self.samples.items():
            if one == config and label and count:
                there[split].add(label)
        known = set[str]().union(*there.values())
        return {split: sorted(known - has) for split, has in there.items() if known - has}

    def stack(self) -> dict[str, str]:
        """What the sidecars record of the machines under each name, each value once."""
        return {name: "; ".join(sorted(values)) for name, values in self.versions.items()}


def _layout(row: Mapping[str, Any]) -> str:
    if row.get("origin") == "real":
        return "real"
    layout = str(row.get("layout"))
    return layout if layout in (DRAWN, FOREIGN) else "source"


def _count(kinds: Counter[str], reason: str) -> None:
    """Count a reason by its kind: reasons of one kind differ in figures, for which "..." stands."""
    kind = FIGURE.sub("...", reason.split(":")[0])
    kinds[kind if kind in kinds or len(kinds) < KINDS else OTHERS] += 1
