"""Folds: cross-validation over the real pairs of a set, by patient where known, else by lesion.

Notable choices:
- The first fold is the source's own split where it has validation images: nothing synthetic was
  made of those. The others share the training images.
- A synthetic pair is in training alone, and left out of the fold that validates the unit whose mask
  guided it.
- A mask that no person drew validates nothing. Its pair leaves the fold that validates its unit.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from didgen.manifests.choices import Split
from didgen.manifests.runs.spill import Spill
from didgen.manifests.sources.splits import group_of

FOLDS = 5
"""As many as nnU-Net asks for; it makes one up at random that the file lacks."""


class Folds:
    """The cases of a set for training and validation, added one by one."""

    def __init__(self) -> None:
        self._cases = Spill()
        self._units: dict[str, str] = {}
        self._counts: dict[Split, Counter[str]] = {"train": Counter(), "val": Counter()}

    def add(self, key: str, split: Split, record: Mapping[str, Any]) -> None:
        """Add a case by its key, its split and its sample's record; one for testing is none."""
        if split == "test":
            return
        real, name = record.get("origin") == "real", str(record.get("source_key") or "")
        truth = real and not record.get("mask_by")
        if real:
            lesion, patient = record.get("lesion_id") or name or key, record.get("patient")
            unit = group_of(str(lesion), str(patient) if patient else None)
            self._units[name] = unit
            if truth:
                self._counts[split][unit] += 1
        self._cases.append((key, name, truth))

    def write(self, path: Path) -> None:
        """Write the folds, case by case, since they may be many; none without a person's masks."""
        validated = self._validated()
        if not validated:
            return
        with open(path, "w", encoding="utf-8") as file:
            for number in range(FOLDS):
                file.write("[\n  {" if number == 0 else ",\n  {")
                for place, split in enumerate(("train", "val")):
                    file.write(f'{"," * place}\n    "{split}": [')
                    for count, key in enumerate(self._of(number, split, validated)):
                        file.write(f"{',' * (count > 0)}\n      {json.dumps(key)}")
                    file.write("\n    ]")
                file.write("\n  }")
            file.write("\n]\n")

    def _validated(self) -> list[set[str]]:
        """The units that each fold validates; none where no mask is a truth."""
        own, free = set(self._counts["val"]), self._counts["train"]
        folds = [own] if own else []
        shares: list[set[str]] = [set() for _ in range(FOLDS - len(folds))]
        sizes = [0] * len(shares)
        for unit in sorted(free, key=lambda unit: (-free[unit], _place(unit))):
            least = sizes.index(min(sizes))
            shares[least].add(unit)
            sizes[least] += free[unit]
        filled = folds + [share for share in shares if share]
        # With few units the folds are repeated: one that is not there is made up at random.
        return [filled[number % len(filled)] for number in range(FOLDS)] if filled else []

    def _of(self, number: int, split: str, validated: list[set[str]]) -> Iterator[str]:
        """The cases of one fold for training or for validation."""
        for key, name, truth in self._cases.read():
            held_out = self._units.get(name) in validated[number]
            if (split == "train" and not held_out) or (split == "val" and held_out and truth):
                yield key


def _place(unit: str) -> str:
    """A place in an order that has nothing to do with names."""
    return hashlib.sha256(unit.encode()).hexdigest()
