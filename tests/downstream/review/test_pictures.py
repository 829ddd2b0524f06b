"""Tests of the pictures: of the run's own bytes, and of the source where it is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from didgen.downstream.review.desk import Desk
from didgen.downstream.review.pictures import THUMB, VIEWS, Pictures, View
from didgen.downstream.review.samples import ReviewSample
from didgen.manifests.errors import DidgenError
from didgen.manifests.shards.shard import iterate
from didgen.manifests.views.attention_maps import FIELD, AttentionHistory
from didgen.manifests.views.layouts import draw_layout
from didgen.manifests.views.outlines import MASK_COLOUR
from tests.fixtures.pictures import decoded
from tests.fixtures.runs import write_run
from tests.fixtures.samples import noise_sample


def test_the_image_has_the_bytes_of_its_shard(desk: Desk, own: Path) -> None:
    for sample in iterate(own, "images"):
        found = desk.pictures.picture(desk.job.samples["images", sample.key], "image")
        assert found == sample.members["jpg"]


def pixels(desk: Desk, sample: ReviewSample, view: View) -> np.ndarray:
    data = desk.pictures.picture(sample, view)
    assert data is not None
    return decoded(data)


def test_views_of_a_pair(desk: Desk, own: Path) -> None:
    pictures, sample = desk.pictures, desk.job.samples["pairs", "pairs-000004"]
    members = {one.key: one.members for one in iterate(own, "pairs")}["pairs-000004"]
    mask = decoded(members["mask.png"]) > 0
    assert pictures.size(sample) == (24, 16)
    np.testing.assert_array_equal(pixels(desk, sample, "mask")[..., 0] > 0, mask)
    outline = pixels(desk, sample, "outline")
    drawn = outline[..., 3] > 0
    assert drawn.any() and not (drawn & ~mask).any()
    assert (outline[drawn][:, :3] == MASK_COLOUR).all()
    layout = pixels(desk, sample, "layout")[..., 0] > 0
    np.testing.assert_array_equal(layout, draw_layout(np.random.default_rng(sample.seed), 24))
    assert max(pixels(desk, sample, "thumb").shape[:2]) <= THUMB
    assert pictures.views(sample) == ["mask", "layout"]


def test_what_a_sample_has_not_is_none(desk: Desk) -> None:
    sample = desk.job.samples["images", "images-000000"]
    there = [view for view in VIEWS if desk.pictures.picture(sample, view) is not None]
    assert there == ["image", "thumb"]


def test_the_nearest_image_comes_from_the_source_by_its_key_alone(desk: Desk) -> None:
    sample = desk.job.samples["images", "images-000000"]
    near = replace(sample, nearest="ISIC_0000005")
    assert pixels(desk, near, "nearest").shape == (16, 24, 3)
    for key in ("../source/records.jsonl", "/etc/passwd", "ISIC_9999999"):
        assert desk.pictures.picture(replace(sample, nearest=key), "nearest") is None


def test_attention_that_was_kept_is_shown_step_by_step(tmp_path: Path) -> None:
    maps = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    history = AttentionHistory((1, 2, 3), 3, maps, np.eye(8, dtype=np.uint8))
    sample = noise_sample("pairs", 0, "MEL", "drawn")
    kept = replace(sample, row=sample.row | {FIELD: history.to_row()})
    run = write_run(tmp_path / "run", {"pairs": [[kept]]}, classes=["MEL"])
    from didgen.downstream.review.samples import prepare_review

    job = prepare_review(run)
    found = Pictures(job).picture(job.samples["pairs", kept.key], "attention")
    assert found is not None and decoded(found).shape == (128, 4 * 128, 3)


def test_a_sample_that_its_shard_lost_is_named(desk: Desk) -> None:
    lost = replace(desk.job.samples["images", "images-000000"], key="gone")
    with pytest.raises(DidgenError, match=r"images-000000\.tar of .* does not hold gone"):
        desk.pictures.picture(lost, "image")
