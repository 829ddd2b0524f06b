"""The pair filter: it keeps pairs whose mask is predicted by segmenters that never saw its lesion.

A judge is a segmentation net trained on real pairs only. One that was trained on the image whose
mask guided a pair would know that mask, and could find it again on a synthetic image that does not
show it, so that it judges no such pair. Judges are trained without one fold of the real pairs each:
a pair whose guide is among these has one judge, every other pair has all of them, and its agreement
is their mean.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from didgen.downstream.data.pairs import Pairs
from didgen.downstream.metrics.segmentation import Floats
from didgen.manifests.privacy.pseudonyms import Naming


@dataclass(frozen=True)
class Agreements:
    """The agreement of each synthetic pair (N,), over how many judges, and whether it is kept."""

    keys: tuple[str, ...]
    guides: tuple[str, ...]
    dice: Floats
    judges: NDArray[np.int64]
    kept: NDArray[np.bool_]

    def rows(self, name: Naming) -> list[dict[str, Any]]:
        """One row a pair, as JSON can hold it; name: how the guides' units are published."""
        return [
            {
                "key": key,
                "guide": name(guide),
                "agreement": float(self.dice[place]),
                "judges": int(self.judges[place]),
                "kept": bool(self.kept[place]),
            }
            for place, (key, guide) in enumerate(zip(self.keys, self.guides, strict=True))
        ]

    def summary(self) -> dict[str, Any]:
        """What the filter did, in a few figures."""
        return {
            "pairs": len(self.keys),
            "kept": int(self.kept.sum()),
            "least_agreement_kept": float(self.dice[self.kept].min()),
            "mean_agreement_kept": float(self.dice[self.kept].mean()),
            "mean_agreement_dropped": float(self.dice[~self.kept].mean())
            if not self.kept.all()
            else None,
        }


def unseen(pairs: Pairs, units: Collection[str]) -> list[int]:
    """The places of the pairs that a judge trained on these lesions or patients may judge."""
    return [place for place, guide in enumerate(pairs.guides) if guide not in units]


def agree(pairs: Pairs, judgements: Sequence[Mapping[str, float]], keep: float) -> Agreements:
    """Put judgements together, each the Dice of one judge by the key of the pairs that it judged.

    Of N pairs the round(keep N) of highest agreement are kept, at least one; the first of equals.
    """
    judged = [[one[key] for one in judgements if key in one] for key in pairs.keys]
    dice = np.array([np.mean(scores) for scores in judged], np.float64)
    kept = np.zeros(len(pairs), bool)
    kept[np.argsort(-dice, kind="stable")[: max(1, round(keep * len(pairs)))]] = True
    return Agreements(
        pairs.keys, pairs.guides, dice, np.array([len(scores) for scores in judged]), kept
    )
