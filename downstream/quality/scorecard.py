"""The scorecard: every figure of a synthetic sample against a real one, its floor beside it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from didgen.downstream.metrics.generative import (
    LEAST,
    Figure,
    feature_figures,
    matched,
    ms_ssim,
    pair_figure,
    spread,
    within,
)
from didgen.downstream.metrics.lpips import ABSENT, lpips
from didgen.downstream.quality.embed import Embedded

PICTURE_SIDE = 256
"""Side of the images that are compared one with one; five scales of MS-SSIM need 161."""

UNKNOWN = ""
"""The class of what has none, which is a class of its own where both sides have such images."""


@dataclass(frozen=True)
class _Matched:
    """The places of a sample that are compared, and the class of each."""

    sample: Embedded
    places: NDArray[np.int64]
    labels: NDArray[np.str_]

    def chosen(self, which: Any) -> "_Matched":
        return _Matched(self.sample, self.places[which], self.labels[which])

    @property
    def features(self) -> NDArray[np.float32]:
        return self.sample.features[self.places]

    @property
    def units(self) -> list[str]:
        return [self.sample.collection.units[place] for place in self.places]

    def pictures(self) -> Tensor:
        return self.sample.collection.pictures(self.places, PICTURE_SIDE)


def scorecard(
    synthetic: Embedded,
    real: Embedded,
    rest: Embedded,
    *,
    pairs: int,
    network: nn.Module | None,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """The figures of `made` against `real`, over all classes and then of each that has enough.

    The floor of each is what real images of other lesions, `rest`, get against the same ones: as
    many where there are as many, of the same classes. pairs: most pairs of images that are
    compared one with one. network: LPIPS, or None. `basis` is what a figure is made of,
    `matched_by` whether the shares of the classes are the same on both sides.
    """
    sides = _match(synthetic, real, seed)
    baseline = _match(rest, sides[1].sample, seed, sides[1].places)
    by_class = bool({*synthetic.collection.labels} & {*real.collection.labels})
    classes = [None, *dict.fromkeys(sides[0].labels.tolist())]
    by_pairs = [_pair_values(*both, pairs, network) for both in (sides, baseline)]
    for label in classes:
        if label is not None and (len(classes) == 2 or np.sum(sides[0].labels == label) < LEAST):
            continue
        figures, baselines = (
            {
                **_feature_figures(*both, label, seed),
                **_pair_figures(values, label),
            }
            for both, values in zip((sides, baseline), by_pairs, strict=True)
        )
        for (name, basis), figure in figures.items():
            if label is not None and figure.value is None:
                continue
            yield {
                "figure": name,
                "class": label,
                "basis": basis,
                "matched_by": "class" if by_class else "nothing, as no class is on both sides",
                **asdict(figure),
                "floor": asdict(baselines[name, basis]),
            }


def _match(
    one: Embedded, other: Embedded, seed: int, places: NDArray[np.int64] | None = None
) -> tuple[_Matched, _Matched]:
    """Two samples with as many images of each class; of the other one only some places, if given.

    Where no class is on both sides, such as with a run without labels, all are taken as one class.
    """
    if places is None:
        places = np.arange(len(other.collection))
    labels = list(one.collection.labels)
    others = [other.collection.labels[place] for place in places]
    if not {*labels} & {*others}:
        labels, others = [UNKNOWN] * len(labels), [UNKNOWN] * len(others)
    first, second = matched(labels, others, seed)
    classes = np.array([labels[place] for place in first], np.str_)
    return _Matched(one, first, classes), _Matched(other, places[second], classes)


def _feature_figures(
    one: _Matched, other: _Matched, label: str | None, seed: int
) -> dict[tuple[str, str], Figure]:
    which = slice(None) if label is None else one.labels == label
    one, other = one.chosen(which), other.chosen(which)
    figures = feature_figures(one.features, other.features, other.units, seed)
    return {(name, "features"): figure for name, figure in figures.items()}


@dataclass(frozen=True)
class _PairValues:
    """What pairs of images measure, by figure and basis; the class of each pair, and images."""

    values: Mapping[tuple[str, str], NDArray[np.float64] | None]
    labels: NDArray[np.str_]
    inner: bool


def _pair_values(
    one: _Matched, other: _Matched, pairs: int, network: nn.Module | None
) -> list[_PairValues]:
    """Pairs across the samples, and pairs within the first one: two images of one class each."""
    places = spread(one.labels.tolist(), pairs)
    one, other = one.chosen(places), other.chosen(places)
    left, right = within(one.labels.tolist())
    pictures = one.pictures()
    return [
        _PairValues(
            _measured(one.features, other.features, pictures, other.pictures(), network, ""),
            one.labels,
            False,
        ),
        _PairValues(
            _measured(
                one.features[left],
                one.features[right],
                pictures[left],
                pictures[right],
                network,
                "_within",
            ),
            one.labels[left],
            True,
        ),
    ]


def _measured(
    features: NDArray[np.floating[Any]],
    others: NDArray[np.floating[Any]],
    pictures: Tensor,
    other_pictures: Tensor,
    network: nn.Module | None,
    suffix: str,
) -> dict[tuple[str, str], NDArray[np.float64] | None]:
    empty = not len(features)
    return {
        (f"feature_distance{suffix}", "features"): _cosine_distances(features, others),
        (f"ms_ssim{suffix}", "pixels"): np.empty(0) if empty else ms_ssim(pictures, other_pictures),
        (f"lpips{suffix}", "lpips"): None
        if network is None
        else np.empty(0)
        if empty
        else lpips(network, pictures, other_pictures),
    }


def _cosine_distances(
    one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    left, right = (part.astype(np.float64) for part in (one, other))
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return 1 - (left * right).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)


def _pair_figures(
    measured: Sequence[_PairValues], label: str | None
) -> dict[tuple[str, str], Figure]:
    figures = {}
    for part in measured:
        which = slice(None) if label is None else part.labels == label
        count = len(part.labels[which])
        n_real = 0 if part.inner else count
        for name, values in part.values.items():
            figures[name] = (
                Figure(None, count, n_real, note=ABSENT)
                if values is None
                else pair_figure(values[which], count, n_real)
            )
    return figures
