"""Tests of the blind test: nothing but the pixels tells what an image is."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from didgen.downstream.review.blind_test import (
    BlindTest,
    NoTestError,
    Shown,
    blind_picture,
    blind_test,
)
from didgen.downstream.review.desk import Desk
from didgen.downstream.review.samples import prepare_review
from didgen.manifests.reviews.record import Guess
from tests.fixtures.pictures import decoded


def guess(test: BlindTest, place: int, shown: Shown, said: str, reviewer: str = "Ada") -> Guess:
    return Guess(
        reviewer=reviewer,
        config=test.config,
        key=shown.key,
        test=test.id,
        place=place,
        origin=shown.origin,
        said=said,
    )


def test_as_many_real_as_synthetic_images_of_each_class(desk: Desk) -> None:
    test = blind_test(desk.job, 40)
    label: dict[str, str | None] = {
        key: sample.label for (_, key), sample in desk.job.samples.items()
    }
    label |= {key: record.label for key, record in desk.job.records.items()}
    counts = Counter((label[one.key], one.origin) for one in test.images)
    # The source holds out four images of each class, one of which has no label.
    held = {"MEL": 4, "BCC": 3}
    assert counts == {(c, o): held[c] for c in held for o in ("real", "synthetic")}
    held_out = {one.key for one in test.images if one.origin == "real"}
    assert {desk.job.records[key].split for key in held_out} == {"val", "test"}
    assert len(blind_test(desk.job, 4).images) == 4
    # A shorter test is the beginning of a longer one, with both classes.
    assert test.images[:4] == blind_test(desk.job, 4).images
    assert {label[one.key] for one in test.images[:4]} == {"MEL", "BCC"}


def test_a_class_without_held_out_images_takes_training_ones(desk: Desk) -> None:
    source = desk.job.source
    assert source is not None
    records = tuple(one.model_copy(update={"split": "train"}) for one in source.records)
    job = replace(desk.job, source=type(source)(source.header, records))
    assert len(blind_test(job, 40).images) == 20


def test_everyone_has_an_order_of_their_own(desk: Desk) -> None:
    test = blind_test(desk.job, 16)
    ada, bob = test.in_order("Ada"), test.in_order("Bob")
    assert ada != bob and sorted(ada, key=repr) == sorted(bob, key=repr)
    assert ada == blind_test(desk.job, 16).in_order("Ada")
    assert test.id != blind_test(desk.job, 16, seed=1).id != blind_test(desk.job, 4, seed=1).id


def test_pictures_differ_in_their_pixels_alone(desk: Desk) -> None:
    test = blind_test(desk.job, 8)
    for shown in test.images:
        data = blind_picture(test, desk.pictures, shown)
        assert data.startswith(b"\x89PNG")
        image = Image.open(io.BytesIO(data))
        assert (image.size, image.mode, image.info) == ((24, 16), "RGB", {})
        assert shown.key.encode() not in data
    synthetic = next(one for one in test.images if one.origin == "synthetic")
    sample = desk.job.samples["images", synthetic.key]
    seen = decoded(blind_picture(test, desk.pictures, synthetic)).astype(int)
    assert abs(seen - decoded(desk.pictures.members(sample)["jpg"])).mean() < 4


def test_results_of_those_who_have_finished(desk: Desk) -> None:
    test = blind_test(desk.job, 8)
    order = test.in_order("Ada")
    right = [guess(test, place, one, one.origin) for place, one in enumerate(order)]
    assert test.results(right[:-1]) == {}
    found = test.results(right)["Ada"]
    assert (found.right, found.n, found.accuracy) == (8, 8, 1)
    # The first answer counts, and that of another test is none of this one's.
    second = guess(test, 0, order[0], "real" if order[0].origin == "synthetic" else "synthetic")
    other = right[0].model_copy(update={"test": "other"})
    assert test.results([other, *right, second])["Ada"] == found
    half = [
        guess(test, place, one, "real", "Bob") for place, one in enumerate(test.in_order("Bob"))
    ]
    bob = test.results([*right, *half])["Bob"]
    assert bob.accuracy == 0.5 and bob.d_prime == pytest.approx(0) and bob.bias > 0


def test_without_real_images_there_is_none(own: Path) -> None:
    with pytest.raises(NoTestError, match="name its folder by `--real`"):
        blind_test(prepare_review(own))


def test_pairs_alone_are_tested_whatever_their_class(own: Path, source: Path) -> None:
    job = prepare_review(own, source)
    pairs = {identity: one for identity, one in job.samples.items() if identity[0] == "pairs"}
    test = blind_test(replace(job, samples=pairs, configs=("pairs",)), 40)
    assert test.config == "pairs" and len(test.images) == 12
