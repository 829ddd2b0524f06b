"""Tests of reviewed masks of a source: what becomes of accepted, redrawn and rejected ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from didgen.manifests.reviews.log import ReviewLog
from didgen.manifests.reviews.photographs import carry_out, drawn_masks, reviewed_masks
from didgen.manifests.reviews.record import Review
from didgen.manifests.reviews.redrawn import mask_of
from didgen.manifests.sources.annotating import CORRECTED, MaskGates, annotate_source
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.annotated import HEIGHT, WIDTH, Boxes, write_annotated_source
from tests.fixtures.commands import Command

TRIANGLE = (((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)),)


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    return write_annotated_source(tmp_path)


def say(source: Path, key: str, verdict: str, reviewer: str = "Ada", **fields: Any) -> None:
    """Append a review of a mask as it is now."""
    sha256 = drawn_masks(SourceManifest.read(source))[key]
    ReviewLog(source).append(
        Review(reviewer=reviewer, config="pairs", key=key, sha256=sha256, verdict=verdict, **fields)
    )


def by_key(source: Path) -> dict[str, str | None]:
    return {record.key: record.mask_by for record in SourceManifest.read(source).records}


def test_an_outline_becomes_the_mask_and_a_rejected_one_is_none(
    annotated: Path, command: Command
) -> None:
    old = (annotated / "annotated" / "b.png").read_bytes()
    say(annotated, "a", "accepted", curves=TRIANGLE)
    say(annotated, "b", "rejected", reason="wrong outline")
    say(annotated, "c", "accepted")
    # No model is opened: there is nothing to draw.
    done = command("annotate", annotated)
    assert done.code == 0, done.err
    assert done.out.startswith("0 of 3 images are to get a mask.")
    assert "1 masks were corrected by hand" in done.out
    assert by_key(annotated) == {"a": f"boxes{CORRECTED}", "b": None, "c": "boxes"}
    manifest = SourceManifest.read(annotated)
    np.testing.assert_array_equal(
        manifest.read_mask(manifest.records[0]), mask_of(TRIANGLE, HEIGHT, WIDTH)
    )
    assert (annotated / "annotated" / "rejected" / "b.png").read_bytes() == old
    # Said once, done once; and the review of the old mask is none of the new one.
    assert command("annotate", annotated).out.startswith("0 of 3 images")
    assert SourceManifest.read(annotated) == manifest
    assert {key: one.verdict for key, one in reviewed_masks(annotated).items()} == {
        "b": "rejected",
        "c": "accepted",
    }
    # A rejected mask is drawn again on demand, and an accepted one is kept.
    told = command("annotate", annotated, "--again", "--dry-run")
    assert told.out.startswith("1 of 3 images are to get a mask.")


def test_reviewers_who_contradict_each_other_change_nothing(annotated: Path) -> None:
    before = SourceManifest.read(annotated)
    say(annotated, "a", "accepted", curves=TRIANGLE)
    say(annotated, "a", "rejected", "Bea", reason="no lesion")
    reviewed = reviewed_masks(annotated)
    carry_out(annotated, reviewed)
    assert reviewed["a"].verdict == "disputed"
    assert annotate_source(annotated, Boxes, MaskGates()).manifest == before


def test_a_withdrawn_review_and_one_of_another_mask_are_none(annotated: Path) -> None:
    say(annotated, "a", "rejected", reason="blurred")
    say(annotated, "a", "withdrawn")
    say(annotated, "b", "rejected", reason="blurred")
    other = annotated / "annotated" / "b.png"
    other.write_bytes((annotated / "annotated" / "c.png").read_bytes() + b"\n")
    assert reviewed_masks(annotated) == {}
