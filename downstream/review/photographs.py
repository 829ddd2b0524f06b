"""Photographs under review: the images of a source whose masks no person drew."""

from pathlib import Path

from didgen.downstream.review.samples import ReviewJob, ReviewSample, figures
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines
from didgen.manifests.reviews.photographs import drawn_masks
from didgen.manifests.sources.annotating import TRIES_FILE
from didgen.manifests.sources.records import SourceManifest


def prepare_photographs(directory: Path) -> ReviewJob:
    """Read a source for review; nothing is written.

    The samples are its images with a mask that no person drew; a source without any is a
    `DidgenError`. Each mask stands for a shard: its hash says which one was reviewed.
    """
    manifest = SourceManifest.read(directory)
    masks, scores = drawn_masks(manifest), _scores(directory)
    samples = {
        record.key: ReviewSample(
            "pairs",
            record.key,
            record.label or "",
            shard="",
            sha256=masks[record.key],
            prompt=record.caption or "",
            layout="",
            seed=0,
            nearest="",
            scores=scores.get(record.key, {}),
        )
        for record in manifest.records
        if record.key in masks
    }
    if not samples:
        raise DidgenError(
            f"{directory} has no mask that a model drew; run `didgen annotate {directory}` first."
        )
    return ReviewJob(
        directory,
        ("pairs",),
        tuple(manifest.header.classes),
        [*masks.values()],
        {("pairs", key): sample for key, sample in samples.items()},
        manifest,
        origin="real",
    )


def _scores(directory: Path) -> dict[str, dict[str, float]]:
    """What the last drawing measured of each mask; it may be of only some."""
    path = directory / TRIES_FILE
    rows = read_json_lines(path) if path.is_file() else []
    return {str(row.get("key")): figures(row.get("scores")) for row in rows}
