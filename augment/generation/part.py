"""The part: which shards of a run one process makes, so that many machines share it."""

import re
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Part:
    """Part `number` of `count`, counted from 1; the shards go to the parts in turn."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            last = f"{self.count}/{self.count}"
            raise ValueError(
                f"{self.number}/{self.count} is no part; they go from 1 to {last}, and N stays the "
                "number of all parts where one is sent again"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `i/N`; ValueError says what is wrong with another text."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if found is None:
            raise ValueError(f"{text!r} is not of the form i/N, such as 1/8")
        return cls(int(found[1]), int(found[2]))

    def has(self, place: int) -> bool:
        """Whether the shard at this place of the whole plan, counted from 0, is of this part."""
        return place % self.count == self.number - 1
