"""Tests of pairs: masks at another size, parts of a set, and augmentation of both as one."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from didgen.downstream.data.images import Images
from didgen.downstream.data.loader import Draws
from didgen.downstream.data.pairs import (
    Pairs,
    folds,
    load_real_pairs,
    load_synthetic_pairs,
    square_pair,
    subset_places,
)
from didgen.manifests.errors import DidgenError
from didgen.manifests.reviews.redrawn import mask_of
from didgen.manifests.runs.finish import read_whole_run
from didgen.manifests.runs.training_samples import training_samples
from didgen.manifests.shards.shard import iterate
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.pictures import encoded, on_its_side
from tests.fixtures.reviews import BOX
from tests.fixtures.sources import manifest_of, write_photo

PLACE = Path("image.png"), Path("mask.png")


def squared(
    image: np.ndarray, mask: np.ndarray, size: int, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    return square_pair(
        (encoded(image, "PNG", **options), PLACE[0]),
        (encoded(mask.astype(np.uint8) * 255, "PNG", **options), PLACE[1]),
        size,
    )


@cache
def drawn_pairs(count: int, side: int = 48) -> Pairs:
    """Images whose red is 150 where the mask is lesion and 60 elsewhere."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    centres, radii = rng.uniform(0.3, 0.7, (count, 2)) * side, rng.uniform(0.15, 0.3, count) * side
    masks = np.stack(
        [
            np.hypot(rows - r, columns - c) < radius
            for (r, c), radius in zip(centres, radii, strict=True)
        ]
    )
    pixels = np.stack([60 + 90 * masks, 0 * masks, 0 * masks], 1).astype(np.uint8)
    names = tuple(f"pair-{number}" for number in range(count))
    return Pairs(names, names, torch.from_numpy(pixels), torch.from_numpy(masks), names)


@given(arrays(bool, (6, 10)))
def test_a_mask_is_lesion_where_most_of_the_area_is(mask: np.ndarray) -> None:
    _, found = squared(np.zeros((6, 10, 3), np.uint8), mask, 3)
    # The middle six columns, in blocks of 2 x 2.
    shares = mask[:, 2:8].reshape(3, 2, 3, 2).mean((1, 3))
    assert np.array_equal(found, shares > 0.5)


def test_image_and_mask_are_cut_and_turned_alike() -> None:
    mask = np.zeros((32, 48), bool)
    mask[4:20, 12:30] = True
    image = np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255
    for options in ({}, {"exif": on_its_side()}):
        for size in (32, 16):
            pixels, found = squared(image, mask, size, **options)
            assert found.any()
            assert np.array_equal(pixels[0] > 127, found)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(DidgenError, match=r"mask\.png has 20 x 16 pixels and its image 24 x 16"):
        squared(np.zeros((16, 24, 3), np.uint8), np.ones((16, 20), bool), 16)


def test_real_pairs_are_those_of_their_records(source: Path) -> None:
    manifest = SourceManifest.read(source)
    records = manifest.select(split="train", masked=True)
    pairs = load_real_pairs(manifest, records, 32)
    assert pairs.keys == tuple(record.key for record in records)
    assert pairs.guides == pairs.units == tuple(record.lesion_id for record in records)
    for place, record in enumerate(records):
        image, mask = manifest.image_path(record), manifest.mask_path(record)
        oracle = square_pair((image.read_bytes(), image), (mask.read_bytes(), mask), 32)
        assert np.array_equal(pairs.pixels[place].numpy(), oracle[0])
        assert np.array_equal(pairs.masks[place].numpy(), oracle[1])


def test_synthetic_pairs_are_those_of_the_shards(guided_run: Path, source: Path) -> None:
    manifest, (run, sidecars) = SourceManifest.read(source), read_whole_run(guided_run)
    taken = list(training_samples(guided_run, run, "pairs", sidecars["pairs"], manifest))
    pairs = load_synthetic_pairs(guided_run, taken, manifest, 32)
    found = {sample.key: sample.members for sample in iterate(guided_run, "pairs")}
    assert pairs.keys == tuple(f"synthetic-{one.key}" for one in taken)
    assert pairs.guides == ("lesion 0", "", "lesion 13", "lesion 24", "lesion 0", "")
    for place, one in enumerate(taken):
        image, mask = (found[one.key][ending] for ending in ("jpg", "mask.png"))
        oracle = square_pair((image, PLACE[0]), (mask, PLACE[1]), 32)
        assert np.array_equal(pairs.pixels[place].numpy(), oracle[0])
        assert np.array_equal(pairs.masks[place].numpy(), oracle[1])


def test_an_outline_that_was_redrawn_takes_the_place_of_the_mask(
    guided_run: Path, source: Path
) -> None:
    manifest = SourceManifest.read(source)
    run, sidecars = read_whole_run(guided_run)
    taken = list(training_samples(guided_run, run, "pairs", sidecars["pairs"], manifest))
    plain = load_synthetic_pairs(guided_run, taken, manifest, 16)
    redrawn = [replace(taken[0], curves=BOX), *taken[1:]]
    found = load_synthetic_pairs(guided_run, redrawn, manifest, 16)
    assert torch.equal(found.pixels, plain.pixels)
    assert torch.equal(found.masks[1:], plain.masks[1:])
    image = np.zeros((16, 24, 3), np.uint8)
    _, mask = squared(image, mask_of(BOX, 16, 24), 16)
    np.testing.assert_array_equal(found.masks[0].numpy(), mask)


def subset(pairs: Pairs, count: int | None, seed: int | tuple[int, ...]) -> Pairs:
    return pairs.take(subset_places(pairs, count, seed))


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 99))
def test_smaller_training_sets_are_among_larger_ones(one: int, other: int, seed: int) -> None:
    pairs = drawn_pairs(20, side=4)
    small, large = (subset(pairs, count, seed) for count in sorted((one, other)))
    assert len(small) == min(one, other)
    assert {*small.keys} <= {*large.keys} <= {*pairs.keys}
    # In the order of the source, whatever the size.
    assert list(large.keys) == sorted(large.keys, key=pairs.keys.index)


def test_which_pairs_are_taken_depends_on_the_seed_alone() -> None:
    pairs = drawn_pairs(40, side=4)
    first = subset(pairs, 10, 1)
    assert subset(pairs, 10, 1).keys == first.keys
    assert subset(pairs, 10, 2).keys != first.keys
    assert subset(pairs, 10, (1, 2)).keys != first.keys
    assert subset(pairs, None, 1).keys == pairs.keys
    # An image more leaves the others in or out, but for the one it drives out.
    fewer = subset(pairs.take(range(39)), 10, 1)
    assert len({*first.keys} - {*fewer.keys}) <= 1


@given(st.lists(st.sampled_from("abcdefgh"), min_size=8), st.integers(2, 4), st.integers(0, 9))
def test_folds_keep_lesions_whole(lesions: list[str], count: int, seed: int) -> None:
    lesions += list("abcd")
    dealt = folds(lesions, count, seed)
    assert {*dealt.tolist()} == {*range(count)}
    by_unit = {lesion: {*dealt[np.array(lesions) == lesion].tolist()} for lesion in lesions}
    assert {len(found) for found in by_unit.values()} == {1}
    sizes = np.bincount([found.pop() for found in by_unit.values()], minlength=count)
    assert sizes.max() - sizes.min() <= 1


def test_too_few_lesions_for_the_folds_are_refused() -> None:
    with pytest.raises(DidgenError, match="2 lesions or patients cannot make 3 folds"):
        folds(["a", "b", "a"], 3, 0)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 5), st.integers(0, 99))
def test_augmentation_moves_a_mask_with_its_image(number: int, place: int, seed: int) -> None:
    drawn = Draws(drawn_pairs(6), seed)[number, place]
    assert drawn["pixels"].dtype == drawn["mask"].dtype == torch.uint8
    assert {*drawn["mask"].unique().tolist()} <= {0, 1}
    # Brightness, contrast and saturation map the red of these images linearly, so that the middle
    # between its extremes parts lesion from skin as it does in the mask.
    red, mask = drawn["pixels"][0].float(), drawn["mask"][0].bool()
    assert drawn["mask"].shape == (1, 48, 48)
    above = (red - red.min()) / (red.max() - red.min()) - 0.5
    # Both are rounded to 8 bits on their way.
    sure = above.abs() > 0.03
    assert torch.equal((above > 0)[sure], mask[sure])
    assert sure.float().mean() > 0.98


def test_a_draw_of_a_pair_moves_its_image_as_it_would_alone(images: Images) -> None:
    pairs = Pairs(images.keys, images.units, images.pixels, images.pixels[:, 0] > 127, images.keys)
    for number in range(8):
        alone, paired = Draws(images, 3)[number, number], Draws(pairs, 3)[number, number]
        assert torch.equal(alone["pixels"], paired["pixels"])


@pytest.mark.parametrize("drawn", [{"mask_orientation": 6}, {"mask_inverted": True}, {}])
def test_a_real_mask_is_read_as_it_was_drawn(tmp_path: Path, drawn: dict[str, Any]) -> None:
    """Whatever the file holds, the mask lies over the dark half of the upright photograph."""
    stored = np.zeros((32, 32), bool)
    stored[:16] = True
    turned = drawn.get("mask_orientation") == 6
    image = np.where(stored, 20, 230).astype(np.uint8)
    options = {"exif": on_its_side()} if turned else {}
    mask = ~stored if drawn.get("mask_inverted") else stored
    files = encoded(image, "PNG", **options), encoded(mask, "PNG")
    one = write_photo(tmp_path, "a", *files, width=32, height=32, **drawn)
    pairs = load_real_pairs(manifest_of(tmp_path, one), [one], 32)
    np.testing.assert_array_equal(pairs.masks[0].numpy(), pairs.pixels[0, 0].numpy() < 100)
