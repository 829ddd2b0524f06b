"""Tests of the scorecard: figures of pairs against naive loops over the images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as oracle_ms_ssim,
)

from didgen.downstream.metrics.generative import matched, within
from didgen.downstream.quality.embed import Collection, Embedded
from didgen.downstream.quality.scorecard import scorecard
from tests.fixtures.pictures import encoded, smooth

LABELS = ("MEL",) * 3 + ("NV",) * 4


def embedded(first: int, labels: Sequence[str] = LABELS) -> Embedded:
    """Images of soft blobs by number, with the mean colours of their halves as features."""
    images = [smooth(first + number, 192) for number in range(len(labels))]

    def files(places: Sequence[int]) -> Iterator[tuple[bytes, Path]]:
        for place in places:
            yield encoded(images[place], "PNG"), Path(f"{place}.png")

    names = tuple(f"image {first + number}" for number in range(len(labels)))
    features = [np.concatenate([i[:96].mean((0, 1)), i[96:].mean((0, 1))]) for i in images]
    return Embedded(
        Collection(names, tuple(labels), names, files),
        np.array(features, np.float32),
        np.zeros((len(labels), 256), bool),
    )


def picture(part: Embedded, place: int) -> torch.Tensor:
    return part.collection.pictures(np.array([place]), 256).float() / 255


def cosine_distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_figures_of_pairs_are_those_of_the_loop() -> None:
    made, real, rest = embedded(0), embedded(100), embedded(200)
    rows = {
        row["figure"]: row
        for row in scorecard(made, real, rest, pairs=100, network=None, seed=5)
        if row["class"] is None
    }
    mine, theirs = matched(LABELS, LABELS, 5)
    # The floor is of the same real images, matched anew.
    others, again = matched(LABELS, [LABELS[place] for place in theirs], 5)
    for side, part, places, against in (
        (dict, made, mine, theirs),
        (lambda row: row["floor"], rest, others, theirs[again]),
    ):
        across = list(zip(places, against, strict=True))
        assert all(LABELS[one] == LABELS[other] for one, other in across)
        similar = [
            oracle_ms_ssim(picture(part, one), picture(real, other), data_range=1.0).item()
            for one, other in across
        ]
        assert side(rows["ms_ssim"])["value"] == pytest.approx(np.mean(similar), abs=1e-5)
        apart = [cosine_distance(part.features[one], real.features[other]) for one, other in across]
        assert side(rows["feature_distance"])["value"] == pytest.approx(np.mean(apart), abs=1e-6)
        ring = [
            (places[one], places[other])
            for one, other in zip(*within([LABELS[p] for p in places]), strict=True)
        ]
        similar = [
            oracle_ms_ssim(picture(part, one), picture(part, other), data_range=1.0).item()
            for one, other in ring
        ]
        assert side(rows["ms_ssim_within"])["value"] == pytest.approx(np.mean(similar), abs=1e-5)
        apart = [cosine_distance(part.features[one], part.features[other]) for one, other in ring]
        told = side(rows["feature_distance_within"])["value"]
        assert told == pytest.approx(np.mean(apart), abs=1e-6)
