"""Generative metrics, from features: how near to real images, and how unlike each other.

Notable choices:
- Samples are matched before they are compared: as many of each class on both sides, drawn by seed.
  Other shares of the classes would count as distance, and FID depends on the number of images.
- Every figure takes two samples, so that the real-to-real floor is the same function of real ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from didgen.downstream.stats.bootstrap import bootstrap_figure, bootstrap_mean
from didgen.downstream.stats.paired import LEVEL, Interval

Floats = NDArray[np.floating[Any]]

LEAST = 20
"""Images on each side below which no figure is formed: its neighbourhoods are then not local."""

IMAGES_A_FEATURE = 2
"""Images on each side and for each feature that FID needs to be told without its bias."""

FOLDS = 10
"""Parts of the jackknife."""

KID_SUBSETS, KID_SUBSET = 100, 1000
"""As in torch-fidelity; a subset is half of the smaller sample where that is less."""

PRECISION_NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5
"""Of precision and recall (Kynkaanniemi et al. 2019); of density and coverage (Naeem et al.
2020)."""

RESAMPLES = 1000

ROWS = 1024
"""Rows of a matrix of distances that are formed at a time."""


@dataclass(frozen=True)
class Figure:
    """A figure of a synthetic and a real sample; where it could not be formed, `note` says why.

    deviation: over the subsets of KID. n_synthetic, n_real: images of each that went in.
    """

    value: float | None
    n_synthetic: int
    n_real: int
    interval: Interval | None = None
    deviation: float | None = None
    note: str = ""


def matched(
    one: Sequence[str], other: Sequence[str], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in two samples such that each class has as many in both: the smaller of its counts.

    one, other: the class of each image. The draw is by seed; both results list class by class, so
    that the images at one position have the same class.
    """
    rng = np.random.default_rng(seed)
    taken: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    for label in sorted({*one} & {*other}):
        drawn = [
            rng.permutation(np.flatnonzero(np.asarray(labels) == label)) for labels in (one, other)
        ]
        least = min(map(len, drawn))
        for places, part in zip(drawn, taken, strict=True):
            part.append(places[:least])
    empty = [np.empty(0, np.int64)]
    return np.concatenate(empty + taken[0]), np.concatenate(empty + taken[1])


def frechet_distance(one: Floats, other: Floats) -> float:
    """Frechet distance of Gaussians (Dowson and Landau 1982) fitted to features (N, D), (M, D).

    Means and covariances in float64; torch-fidelity does the mathematics.
    """
    statistics = [
        fid_features_to_statistics(torch.from_numpy(np.asarray(part, np.float64)))
        for part in (one, other)
    ]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def fid(generated: Floats, real: Floats, seed: int = 0) -> dict[str, Figure]:
    """FID (Heusel et al. 2017) of features (N, D), (M, D), as it is and without its bias.

    `fid` is the literature's figure, which few images make too large, by a term in 1/N. `fid_inf`
    is without this term, as Chong and Forsyth (2020) extrapolate it, here by the jackknife over
    `FOLDS` parts of both samples (Quenouille 1956), whose pseudo-values give the t interval too.
    With few images to a feature the term is not linear in 1/N, and less than all of it goes: of
    200 features of real images of other lesions, it left 2.4 of 12.7 with 230 images on each side,
    and 0.4 of 6.5 with 450. Below `IMAGES_A_FEATURE` it is not formed, and with no more images than
    features, whose covariance then has no full rank, neither is `fid`.
    """
    n, m, dimension = len(generated), len(real), generated.shape[1]

    def left_out(least: int) -> Figure:
        note = (
            f"left out: {min(n, m)} images are too few for {dimension} features; it needs {least} "
            "on each side, or an extractor of fewer features"
        )
        return Figure(None, n, m, note=note)

    if min(n, m) <= dimension:
        return {name: left_out(dimension + 1) for name in ("fid", "fid_inf")}
    if min(n, m) < IMAGES_A_FEATURE * dimension:
        biased = Figure(frechet_distance(generated, real), n, m)
        return {"fid": biased, "fid_inf": left_out(IMAGES_A_FEATURE * dimension)}
    rng = np.random.default_rng(seed)
    folds = [rng.permutation(size) % FOLDS for size in (n, m)]
    whole = frechet_distance(generated, real)
    pseudo = np.array(
        [
            FOLDS * whole
            - (FOLDS - 1) * frechet_distance(generated[folds[0] != fold], real[folds[1] != fold])
            for fold in range(FOLDS)
        ]
    )
    reach = scipy.stats.t.ppf((1 + LEVEL) / 2, FOLDS - 1) * pseudo.std(ddof=1) / FOLDS**0.5
    mean = float(pseudo.mean())
    return {
        "fid": Figure(whole, n, m),
        "fid_inf": Figure(mean, n, m, (float(mean - reach), float(mean + reach))),
    }


def kid(generated: Floats, real: Floats, seed: int = 0) -> Figure:
    """KID (Binkowski et al. 2018) of features (N, D), (M, D): unbiased, at best about 0 or below.

    The mean over subsets and their deviation, by torch-fidelity with its cubic kernel.
    """
    n, m = len(generated), len(real)
    result = kid_features_to_metric(
        *(torch.from_numpy(np.asarray(part, np.float64)) for part in (generated, real)),
        kid_subsets=KID_SUBSETS,
        kid_subset_size=min(KID_SUBSET, min(n, m) // 2),
        rng_seed=seed,
        verbose=False,
    )
    return Figure(
        float(result[KEY_METRIC_KID_MEAN]), n, m, deviation=float(result[KEY_METRIC_KID_STD])
    )


def neighbourhoods(
    generated: Floats,
    real: Floats,
    near: int = PRECISION_NEIGHBOURS,
    dense: int = DENSITY_NEIGHBOURS,
) -> dict[str, NDArray[np.float64]]:
    """What each image adds to precision and recall, density and coverage; their means are these.

    made: (N, D), real: (M, D). precision (N,): lies among the `near` neighbours of a real image;
    recall (M,): of a synthetic one. density (N,): how many neighbourhoods of `dense` real images
    it lies in, over `dense`; coverage (M,): whether a synthetic image lies in that of this one.
    """
    one, other = (torch.from_numpy(np.asarray(part, np.float64)) for part in (generated, real))
    radius = _radii(one, near)
    narrow, wide = _radii(other, near), _radii(other, dense)
    precision, density, recall, coverage = [], [], [], []
    for rows in one.split(ROWS):
        apart = torch.cdist(rows, other)
        precision.append((apart <= narrow).any(1))
        density.append((apart <= wide).sum(1) / dense)
    for place in range(0, len(other), ROWS):
        part = slice(place, place + ROWS)
        apart = torch.cdist(other[part], one)
        recall.append((apart <= radius).any(1))
        coverage.append(apart.min(1).values <= wide[part])
    found = {"precision": precision, "recall": recall, "density": density, "coverage": coverage}
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Distance of each point (N, D) to its k-th neighbour among the others, (N,)."""
    # The nearest of all is the point itself.
    return torch.cat(
        [torch.cdist(rows, points).kthvalue(neighbours + 1).values for rows in points.split(ROWS)]
    )


def feature_figures(
    generated: Floats, real: Floats, units: ArrayLike, seed: int = 0
) -> dict[str, Figure]:
    """All figures of two matched samples by their features (N, D), (M, D).

    units (M,) are those of the real images, over which the intervals of recall and coverage
    resample; those of precision and density resample images. Both leave the neighbourhoods as
    they are.
    """
    n, m = len(generated), len(real)
    names = ("fid", "fid_inf", "kid", "precision", "recall", "density", "coverage")
    if min(n, m) < LEAST:
        note = f"left out: {min(n, m)} images are fewer than {LEAST}"
        return {name: Figure(None, n, m, note=note) for name in names}
    figures = {**fid(generated, real, seed), "kid": kid(generated, real, seed)}
    for name, values in neighbourhoods(generated, real).items():
        of = units if name in ("recall", "coverage") else np.arange(n)
        interval = bootstrap_figure(_mean_of(values), of, resamples=RESAMPLES, seed=seed)
        figures[name] = Figure(float(values.mean()), n, m, interval)
    return figures


def _mean_of(values: NDArray[np.float64]) -> Callable[[NDArray[np.int64]], float]:
    return lambda drawn: float(values[drawn].mean())


def ms_ssim(one: Tensor, other: Tensor, batch: int = 16) -> NDArray[np.float64]:
    """MS-SSIM (Wang et al. 2003) of each pair of images (N, 3, S, S) uint8, in [0, 1]; (N,).

    By torchmetrics, with five scales and the window of the paper. 1 is the same image.
    """
    parts = [
        multiscale_structural_similarity_index_measure(
            left.float() / 255, right.float() / 255, data_range=1.0, reduction="none"
        )
        for left, right in zip(one.split(batch), other.split(batch), strict=True)
    ]
    return torch.cat(parts).double().numpy()


def pair_figure(values: ArrayLike, n_synthetic: int, n_real: int) -> Figure:
    """The mean over pairs (P,) with its bootstrap interval over pairs."""
    values = np.asarray(values, np.float64)
    if not len(values):
        return Figure(None, n_synthetic, n_real, note="left out: there is no pair of one class")
    return Figure(float(values.mean()), n_synthetic, n_real, bootstrap_mean(values))


def within(labels: Sequence[str]) -> tuple[list[int], list[int]]:
    """Pairs of different images of one class: each with the next of its class, in a ring.

    labels: class by class, as `matched` lists them.
    """
    groups: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        groups.setdefault(label, []).append(place)
    pairs = [
        (place, group[(number + 1) % len(group)])
        for group in groups.values()
        # Two images make one pair, not two.
        for number, place in enumerate(group if len(group) > 2 else group[: len(group) - 1])
    ]
    return [one for one, _ in pairs], [other for _, other in pairs]


def spread(labels: Sequence[str], most: int) -> NDArray[np.int64]:
    """At most so many places of a sample that is listed class by class, evenly spread over it."""
    count = min(most, len(labels))
    return np.unique(np.linspace(0, len(labels) - 1, count).round().astype(np.int64))
