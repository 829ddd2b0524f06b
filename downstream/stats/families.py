"""Families of comparisons: what may be said of several together.

"It beats every rival" is an intersection-union test (Berger 1982): it is false as soon as one rival
is not beaten, so that the largest p decides and needs no correction.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from didgen.downstream.stats.comparison import ALPHA, NULL, UNTESTED, Comparison

BEATS = "beats every rival"


@dataclass(frozen=True)
class AgainstAll:
    """One treatment against all of its rivals: the rival that is least beaten, and its p.

    p is 1 where that rival is as good or better; None where some comparison was not tested.
    """

    model: str
    score: str
    treatment: str
    rivals: tuple[str, ...]
    comparisons: int
    least: str
    p: float | None

    @property
    def verdict(self) -> str:
        """`beats every rival`, `no difference shown (null result)` or `not tested`."""
        if self.p is None:
            return UNTESTED
        return BEATS if self.p < ALPHA else NULL

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        p = "no p" if self.p is None else f"largest p = {self.p:.2g}, uncorrected"
        return (
            f"{self.model}, {self.score}: {self.treatment} against {', '.join(self.rivals)}: "
            f"{self.verdict} ({p}, against {self.least}; {self.comparisons} comparisons)."
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, the verdict and the sentence, as JSON can hold them."""
        return {**asdict(self), "verdict": self.verdict, "sentence": self.sentence}


def against_all(comparisons: Sequence[Comparison], model: str) -> AgainstAll:
    """What comparisons of one treatment with several rivals, on one score, say together."""

    def p_of(one: Comparison) -> float:
        p = one.deciding.p
        if p is None:
            return 2.0
        return p if (one.difference > 0) == one.higher_is_better and one.difference else 1.0

    worst = max(comparisons, key=p_of)
    p = p_of(worst)
    return AgainstAll(
        model,
        worst.score,
        worst.treatment,
        tuple(dict.fromkeys(one.control for one in comparisons)),
        len(comparisons),
        f"{worst.control} ({worst.model})",
        None if p > 1 else p,
    )
