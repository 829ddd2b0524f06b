"""Curves of a benchmark: the score of each arm over the number of real images, from its record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from didgen.downstream.stats.comparison import plural

PARTS = {
    "validation": "validation images",
    "test": "test images",
    "outside": "images of another source",
}
"""What curves are drawn of, in words."""

Point: TypeAlias = tuple[int | None, float, Sequence[float] | None]
"""Real images, None for all of them; the score; the ends of its interval, where it has one."""


@dataclass(frozen=True)
class Curves:
    """The arms of one network on one part of the images, by name; intervals are over `unit`."""

    network: str
    part: str
    score: str
    unit: str
    arms: Mapping[str, Sequence[Point]]

    @property
    def title(self) -> str:
        """What is shown, in words."""
        return f"{self.network}: {self.score} over real images, {PARTS[self.part]}"

    @property
    def caption(self) -> str:
        """How to read them."""
        return (
            "Mean over seeds by the number of real training images; bars are 95 % intervals over "
            f"{plural(self.unit)}, the seeds averaged."
        )

    @property
    def scales(self) -> list[int | None]:
        """Numbers of real images in their order, all of them at the end."""
        found = {real for points in self.arms.values() for real, _, _ in points}
        return sorted(found, key=lambda real: (real is None, real or 0))


def curves_of(benchmark: Mapping[str, Any]) -> list[Curves]:
    """The curves of every network and part; none where a benchmark has a single scale."""
    return list(_curves(benchmark)) if len(benchmark["recipe"].get("real") or []) > 1 else []


def _curves(benchmark: Mapping[str, Any]) -> Iterator[Curves]:
    for network in dict.fromkeys(arm["network"] for arm in benchmark["arms"]):
        rows = [arm for arm in benchmark["arms"] if arm["network"] == network]
        for part in PARTS:
            arms: dict[str, list[Point]] = {}
            for arm in rows:
                if (said := _of_part(arm, part)) is not None:
                    point = arm["real"], said["score"], said["interval"]
                    arms.setdefault(arm["arm"], []).append(point)
            if arms:
                yield Curves(network, part, benchmark["score"], benchmark["unit"], arms)


def _of_part(arm: Mapping[str, Any], part: str) -> Mapping[str, Any] | None:
    """What an arm's row says of a part of the images: its score and interval."""
    if part == "test":
        return arm if arm["figures"] is not None else None
    return arm.get(part)
