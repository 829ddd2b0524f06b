"""The record of a copy check: a row for each sample, the rates, pictures of the closest pairs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from didgen.downstream.quality.copies import (
    QUANTILE,
    Calibration,
    Nearest,
    TrainingIndex,
    are_copies,
    contact_sheet,
    rate,
)
from didgen.downstream.quality.embed import Collection
from didgen.downstream.quality.extractors import orientations
from didgen.downstream.quality.scorecard import PICTURE_SIDE
from didgen.manifests.choices import Config
from didgen.manifests.perceptual_hash import NEAR
from didgen.manifests.recipes.fields import DRAWN, FOREIGN
from didgen.manifests.runs.training_samples import SyntheticSample

CLOSEST = 24
"""Pairs on the contact sheet."""


def copy_rows(
    config: Config,
    samples: Sequence[SyntheticSample],
    nearest: Nearest,
    training: Sequence[str],
    threshold: float,
) -> list[dict[str, Any]]:
    """The copy check of each sample, as `copies.jsonl` holds it; training: keys of its images.

    The row of a variation names the image that it `start`s from, and says whether it is a copy of
    that image rather than of another.
    """
    rows: list[dict[str, Any]] = [
        {
            "config": config,
            "key": sample.key,
            "class": sample.label,
            "origin": _origin(config, sample),
            "layout": sample.layout,
            "nearest": training[nearest.places[place]],
            "similarity": float(nearest.similarities[place]),
            "hash_nearest": training[nearest.hash_places[place]],
            "hash_distance": int(nearest.bits[place]),
            "copy": bool(copy),
        }
        for place, (sample, copy) in enumerate(
            zip(samples, are_copies(nearest, threshold), strict=True)
        )
    ]
    for row, sample in zip(rows, samples, strict=True):
        if sample.start:
            row["start"] = sample.start
            row["copy_of_start"] = row["copy"] and copied(row) == sample.start
    return rows


def copied(row: Mapping[str, Any]) -> str:
    """The training image that a sample is nearest to: by its hash where that finds a copy."""
    return str(row["hash_nearest" if row["hash_distance"] <= NEAR else "nearest"])


def with_start_similarity(
    rows: Sequence[dict[str, Any]],
    features: NDArray[np.float32],
    index: TrainingIndex,
    training: Sequence[str],
) -> list[dict[str, Any]]:
    """Rows with the similarity of variations, features (N, D), to the images they start from."""
    places = {key: place for place, key in enumerate(training)}
    varied = [place for place, row in enumerate(rows) if "start" in row]
    starts = [places[rows[place]["start"]] for place in varied]
    own = dict(zip(varied, index.similarities(features[varied], starts), strict=True))
    return [
        row | {"start_similarity": float(own[place])} if place in own else row
        for place, row in enumerate(rows)
    ]


def _origin(config: Config, sample: SyntheticSample) -> str:
    """What the copies are counted by: whether a training image was the start, or the layout."""
    if sample.start:
        return "variations"
    if config == "images":
        return "images"
    named = {DRAWN: "drawn layout", FOREIGN: "unknown layout"}
    return named.get(sample.layout, "training layout")


def copy_summary(
    rows: Sequence[Mapping[str, Any]],
    calibration: Calibration,
    nearest: Nearest,
    held_out: Sequence[str],
    training: Sequence[str],
) -> dict[str, Any]:
    """How many samples are copies, of all and of each origin, and what they were judged by.

    nearest: of the held-out images, whose keys are `held_out`.
    """
    origins: dict[str, dict[str, Any]] = {}
    for origin in dict.fromkeys(row["origin"] for row in rows):
        part = [row for row in rows if row["origin"] == origin]
        origins[origin] = rate([row["copy"] for row in part])
        if origin == "variations":
            origins[origin]["of_start"] = rate([row["copy_of_start"] for row in part])
            similar = [row["start_similarity"] for row in part]
            origins[origin]["start_similarity"] = float(np.median(similar))
        if origin == "training layout":
            # Whether the mask brought its image along.
            own = rate([row["nearest"] == row["layout"] for row in part])
            origins[origin]["nearest_is_layout"] = own
    return {
        **rate([row["copy"] for row in rows]),
        "threshold": calibration.threshold,
        "quantile": QUANTILE,
        "bits": NEAR,
        "orientations": len(orientations(torch.zeros(1, 3, 1, 1))),
        "held_out": rate(are_copies(nearest, calibration.threshold)),
        "by_features": rate([row["similarity"] > calibration.threshold for row in rows]),
        "by_hash": rate([row["hash_distance"] <= NEAR for row in rows]),
        "origins": origins,
        "calibrated_on": calibration.n,
        "held_out_duplicates": [
            {
                "key": held_out[place],
                "nearest": training[nearest.hash_places[place]],
                "bits": int(nearest.bits[place]),
            }
            for place in calibration.duplicates
        ],
    }


def closest_sheet(
    rows: Sequence[Mapping[str, Any]], training: Collection, synthetic: Mapping[Config, Collection]
) -> bytes:
    """The contact sheet of the samples that are nearest to a training image, the nearest first."""
    ranked = sorted(rows, key=lambda row: (not row["copy"], -row["similarity"]))[:CLOSEST]
    # A copy by hash is shown beside the image that the hash found.
    shown = [copied(row) for row in ranked]
    real = _pictures(training, shown)
    pictures = {
        (config, key): picture
        for config, collection in synthetic.items()
        for key, picture in _pictures(
            collection, [row["key"] for row in ranked if row["config"] == config]
        ).items()
    }
    return contact_sheet(
        [
            (pictures[row["config"], row["key"]], real[key], _title(row, key))
            for row, key in zip(ranked, shown, strict=True)
        ]
    )


def _title(row: Mapping[str, Any], key: str) -> str:
    reported = f"similarity {row['similarity']:.3f}, {row['hash_distance']} bits differ"
    return "\n".join((row["key"] + (" (copy)" if row["copy"] else ""), key, reported))


def _pictures(collection: Collection, keys: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
    """The images of some keys, by key, as they are compared and shown."""
    wanted = {*keys}
    places = np.array([p for p, key in enumerate(collection.keys) if key in wanted], np.int64)
    pixels = collection.pictures(places, PICTURE_SIDE).numpy()
    return {collection.keys[place]: image for place, image in zip(places, pixels, strict=True)}
