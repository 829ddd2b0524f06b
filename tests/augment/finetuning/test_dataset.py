"""Tests of the training data: everything random follows from the draw, masks follow images."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from didgen.augment.diffusion.images import load_mask, load_pixels
from didgen.augment.diffusion.losses import region_masks
from didgen.augment.finetuning.dataset import (
    ORIENTATIONS,
    ImageDataset,
    RegionDataset,
    class_weights,
    draws,
    free_captions,
    orient,
)
from didgen.augment.prompts.prompt import PREFIX, compose
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.attributes import SENTENCE as MEASURED
from tests.fixtures.recipes import finetune_recipe


def regions(manifest: SourceManifest, seed: int = 0, **changes: Any) -> RegionDataset:
    """The tiny source as region data at 64 pixels."""
    fields = {"orientations": "dihedral", "caption_probability": 0.5, "prompt_dropout": 0.5}
    recipe = finetune_recipe(model="none", cache=False, seed=seed, **(fields | changes))
    dataset = RegionDataset(manifest, manifest.select(split="train", masked=True), recipe, 1000)
    # Smaller than any recipe may ask for.
    dataset.size = 64
    return dataset


def test_the_same_draw_is_the_same_item(manifest: SourceManifest) -> None:
    one, same = regions(manifest)[7, 3], regions(manifest)[7, 3]
    assert one.keys() == same.keys()
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, same[name]), name
        else:
            assert value == same[name], name
    assert not torch.equal(one["noise"], regions(manifest)[8, 3]["noise"])
    assert not torch.equal(one["noise"], regions(manifest, seed=1)[7, 3]["noise"])


def test_thinning_changes_captions_alone(manifest: SourceManifest) -> None:
    whole: dict[str, Any] = {"caption_probability": 1.0, "prompt_dropout": 0.0}
    plain, thinned = regions(manifest, **whole), regions(manifest, **whole, caption_thinning=1.0)
    lengths = set()
    for number in range(40):
        one, other = plain[number, 0], thinned[number, 0]
        clauses, kept = (item.pop("prompt").rstrip(".").split(", ") for item in (one, other))
        assert kept[0] == clauses[0]
        assert set(kept) <= set(clauses)
        lengths.add(len(kept))
        for name, value in one.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[name])), name
    assert len(lengths) > 1
    bare = regions(manifest, caption_probability=0.0, prompt_dropout=0.0, caption_thinning=1.0)
    assert bare[0, 0]["prompt"] == PREFIX.rstrip()


def test_an_item_has_the_shapes_and_ranges_it_says(manifest: SourceManifest) -> None:
    item = regions(manifest)[0, 0]
    assert item["pixels"].shape == (3, 64, 64)
    assert -1 <= item["pixels"].min() < item["pixels"].max() <= 1
    assert item["mask"].shape == (1, 8, 8)
    assert item["mask"].min() == 0
    assert item["mask"].max() == 1
    assert item["noise"].shape == (4, 8, 8)
    assert item["noise"].dtype == torch.float32
    assert 0 <= item["timestep"] < 1000


def test_draws_of_prompt_timestep_and_noise_have_their_distributions(
    manifest: SourceManifest,
) -> None:
    dataset = regions(manifest, caption_probability=0.8, prompt_dropout=0.25)
    items = [dataset[number, 0] for number in range(120)]
    caption = compose(dataset.records[0].caption)
    captioned = [item["prompt"] == caption for item in items]
    kept = [item for item in items if item["prompted"]]
    assert all(item["prompt"] in (caption, PREFIX.rstrip()) for item in kept)
    assert all(item["prompt"] == "" for item in items if not item["prompted"])
    assert 0.65 < sum(captioned) / len(kept) < 0.92
    assert 0.62 < np.mean([item["prompted"] for item in items]) < 0.87
    noise = torch.stack([item["noise"] for item in items])
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03
    timesteps = np.array([item["timestep"] for item in items])
    assert 400 < timesteps.mean() < 600
    assert timesteps.min() < 100
    assert timesteps.max() > 900


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_orientations_are_distinct_and_only_move_pixels(name: str) -> None:
    image = torch.arange(16).reshape(1, 4, 4)
    seen = {tuple(orient(image, *o).flatten().tolist()) for o in ORIENTATIONS[name]}
    assert len(seen) == len(ORIENTATIONS[name]) == {"none": 1, "flips": 4, "dihedral": 8}[name]
    assert all(sorted(pixels) == list(range(16)) for pixels in seen)
    if name == "flips":
        turned = torch.rot90(image, 1, (-2, -1))
        assert tuple(turned.flatten().tolist()) not in seen


def test_the_mask_stays_on_its_lesion(manifest: SourceManifest) -> None:
    dataset = regions(manifest)
    orientations = set()
    for number in range(24):
        item = dataset[number, 0]
        # Drawn lesions are dark on light skin, so the image shows its own mask.
        dark = item["pixels"].mean(0) < 0
        share = F.avg_pool2d(dark.float()[None], 8)[0]
        mask = item["mask"][0]
        assert (share - mask).abs().mean() < 0.02
        orientations.add(tuple(mask.flatten().tolist()))
    assert len(orientations) > 3


def test_early_samples_have_half_the_side(manifest: SourceManifest) -> None:
    whole, halved = regions(manifest), regions(manifest)
    halved.half_samples = 5
    for number in range(8):
        one, other = whole[number, 2], halved[number, 2]
        side = 4 if number < 5 else 8
        assert other["noise"].shape == (4, side, side)
        assert other["mask"].shape == (1, side, side)
        assert other["pixels"].shape == (3, 8 * side, 8 * side)
        torch.testing.assert_close(other["mask"], F.adaptive_avg_pool2d(one["mask"], side))
        # Resized from the image itself, which is not quite a mean of what is resized already.
        resized = F.adaptive_avg_pool2d(one["pixels"], 8 * side)
        assert (other["pixels"] - resized).abs().mean() < 0.02
        for name in ("prompt", "prompted", "timestep"):
            assert other[name] == one[name]


@given(batch=st.integers(1, 5), world=st.integers(1, 3), until=st.integers(0, 6))
def test_a_batch_is_all_of_one_size(batch: int, world: int, until: int) -> None:
    halved = until * batch * world
    for rank in range(world):
        for step, drawn in enumerate(draws(np.ones(7), batch, range(8), 0, rank, world)):
            assert {number < halved for number, _ in drawn} == {step < until}


@pytest.mark.parametrize("size", [64, 192])
def test_masks_reduced_in_two_steps_are_those_of_one(manifest: SourceManifest, size: int) -> None:
    dataset = regions(manifest)
    dataset.size = size
    whole = load_mask(manifest, dataset.records[2], size)
    for side in (size // 8, size // 16, size // 32):
        found = region_masks(dataset.mask(2)[None], side)[:, :1]
        torch.testing.assert_close(found, F.avg_pool2d(whole[None], size // side))


def test_all_that_is_drawn_lies_among_the_prompts_and_views(manifest: SourceManifest) -> None:
    captions = ("melanoma, a small round tan lesion at the upper left.", "free words")
    records = tuple(
        record.model_copy(update={"caption": captions[number % 2]})
        for number, record in enumerate(manifest.records)
    )
    manifest = SourceManifest(manifest.header, records)
    dataset = regions(manifest)
    prompts = dataset.prompts()
    # Four corners, the words that name no place, the bare prefix and nothing at all.
    assert len(prompts) == len(set(prompts)) == 4 + 1 + 1 + 1
    drawn = [dataset[number, number % 2] for number in range(200)]
    assert {item["prompt"] for item in drawn} == set(prompts)
    for index, item in enumerate(drawn[:20]):
        views = dataset.views(index % 2)
        assert any(torch.equal(item["pixels"], view) for view in views)
    plain = regions(manifest, caption_probability=1.0, prompt_dropout=0.0).prompts()
    assert set(plain) == set(prompts) - {"", PREFIX.rstrip()}
    bare = regions(manifest, caption_probability=0.0, prompt_dropout=0.0).prompts()
    assert bare == [PREFIX.rstrip()]


def test_crops_are_parts_of_their_image(manifest: SourceManifest) -> None:
    records = manifest.select(split="train")
    dataset = ImageDataset(manifest, records, 64, 32, "none", seed=0)
    whole = load_pixels(manifest, records[1], 64)
    places = set()
    for number in range(20):
        crop = dataset[number, 1]["pixels"]
        assert crop.shape == (3, 32, 32)
        windows = whole.unfold(1, 32, 1).unfold(2, 32, 1)
        found = (windows == crop[:, None, None]).all((0, 3, 4)).nonzero().tolist()
        assert len(found) == 1
        places.add(tuple(found[0]))
    assert len(places) > 10


def test_a_crop_larger_than_the_image_is_the_image(manifest: SourceManifest) -> None:
    records = manifest.select(split="train")
    dataset = ImageDataset(manifest, records, 64, 128, "none", seed=0)
    assert torch.equal(dataset[0, 2]["pixels"], load_pixels(manifest, records[2], 64))


sizes = st.integers(1, 12)

shares = st.lists(st.floats(0.1, 9), min_size=1, max_size=12).map(
    lambda values: np.array(values) * (len(values) / sum(values))
)


@given(length=sizes, batch=sizes, steps=st.integers(1, 15), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_every_epoch_covers_every_record_once(
    length: int, batch: int, steps: int, seed: int
) -> None:
    flat = [draw for b in draws(np.ones(length), batch, range(steps), seed, 0, 1) for draw in b]
    assert [number for number, _ in flat] == list(range(steps * batch))
    indices = [index for _, index in flat]
    for start in range(0, len(indices) - length + 1, length):
        assert sorted(indices[start : start + length]) == list(range(length))
    rest = indices[len(indices) // length * length :]
    assert len(set(rest)) == len(rest)


@given(weights=shares, epochs=st.integers(1, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_every_epoch_draws_each_record_by_its_weight(
    weights: NDArray[np.float64], epochs: int, seed: int
) -> None:
    batches = list(draws(weights, len(weights), range(epochs), seed, 0, 1))
    for batch in batches:
        counts = np.bincount([index for _, index in batch], minlength=len(weights))
        assert (np.abs(counts - weights) < 1 + 1e-9).all()


def test_over_many_epochs_a_record_comes_as_often_as_its_weight() -> None:
    weights = np.array([0.25, 0.5, 0.75, 1.0, 2.5])
    batches = draws(weights, 5, range(2000), 0, 0, 1)
    counts = np.bincount([index for batch in batches for _, index in batch]) / 2000
    assert np.abs(counts - weights).max() < 0.05


def test_class_weights_go_from_images_alike_to_classes_alike(manifest: SourceManifest) -> None:
    one = manifest.records[0]
    labels = ["NV"] * 16 + ["DF"] * 4 + [None]
    records = [one.model_copy(update={"label": label}) for label in labels]
    assert (class_weights(records, 0) == 1).all()
    for balance in (0.5, 1.0):
        weights = class_weights(records, balance)
        assert weights.mean() == pytest.approx(1)
        assert weights[0] * 16**balance == pytest.approx(weights[16] * 4**balance)
        assert weights[0] * 16**balance == pytest.approx(weights[20])
    totals = [weights[:16].sum(), weights[16:20].sum(), weights[20]]
    assert totals == pytest.approx([7, 7, 7])


@given(
    weights=shares,
    batch=sizes,
    steps=st.integers(1, 10),
    world=st.integers(2, 4),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_processes_share_the_batch_of_one(
    weights: NDArray[np.float64], batch: int, steps: int, world: int, seed: int
) -> None:
    alone = list(draws(weights, batch * world, range(steps), seed, 0, 1))
    ranks = [list(draws(weights, batch, range(steps), seed, rank, world)) for rank in range(world)]
    for step in range(steps):
        together = [draw for rank in ranks for draw in rank[step]]
        assert together == alone[step]


@given(
    weights=shares,
    batch=sizes,
    steps=st.integers(1, 10),
    start=st.integers(0, 10),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_a_resumed_run_draws_what_was_left(
    weights: NDArray[np.float64], batch: int, steps: int, start: int, seed: int
) -> None:
    whole = list(draws(weights, batch, range(steps), seed, 0, 1))
    assert list(draws(weights, batch, range(start, steps), seed, 0, 1)) == whole[start:]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(index for _, index in batch)
        for seed in (0, 1)
        for batch in draws(np.ones(20), 20, range(3), seed, 0, 1)
    }
    assert len(orders) == 6


def told(manifest: SourceManifest, caption: str) -> SourceManifest:
    """The source with one caption for all images."""
    records = tuple(r.model_copy(update={"caption": caption}) for r in manifest.records)
    return replace(manifest, records=records)


SHOWN: dict[str, Any] = {"caption_probability": 1.0, "prompt_dropout": 0.0}


def test_an_image_whose_free_caption_cannot_turn_stays_as_it_is(manifest: SourceManifest) -> None:
    fixed = regions(told(manifest, "streaks at the lateral margin."), **SHOWN)
    masks = [fixed[number, 0]["mask"] for number in range(16)]
    assert all(torch.equal(mask, fixed.mask(0)) for mask in masks)
    assert fixed.prompts() == [compose("streaks at the lateral margin.")]
    # Without its caption nothing is denied.
    bare = regions(told(manifest, "streaks at the lateral margin."), caption_probability=0.0)
    assert any(not torch.equal(bare[number, 0]["mask"], bare.mask(0)) for number in range(16))


def test_a_free_caption_turns_with_its_image(manifest: SourceManifest) -> None:
    dataset = regions(told(manifest, "a mole in the upper left corner."), **SHOWN)
    corner = torch.zeros(1, 8, 8)
    corner[0, 0, 0] = 1
    words = {(0, 0): "upper left", (0, 7): "upper right", (7, 0): "lower left"}
    seen = set()
    for number in range(30):
        item = dataset[number, 0]
        turned = next(
            orientation
            for orientation in ORIENTATIONS["dihedral"]
            if torch.equal(orient(dataset.mask(0), *orientation), item["mask"])
        )
        ((row, column),) = orient(corner, *turned)[0].nonzero().tolist()
        place = words.get((row, column), "lower right")
        assert item["prompt"] == compose(f"a mole in the {place} corner.")
        seen.add(place)
    assert len(seen) == 4


def test_free_captions_are_counted_with_their_reasons(manifest: SourceManifest) -> None:
    sentences = ["a mole at the top.", "streaks at the lateral margin.", "brown and pink", MEASURED]
    records = [
        record.model_copy(update={"caption": sentences[number % 4]})
        for number, record in enumerate(manifest.records[:8])
    ]
    said = free_captions(finetune_recipe(model="none", orientations="flips"), records)
    assert said["captions"] == (
        "6 of 8 are free sentences, because 4 have no clause on a lesion in the form's words; "
        "2 have no full stop at the end"
    )
    assert said["orientations"].startswith("of 6 free captions, 2 name places that are turned")
    assert "and 2 name one that cannot be turned" in said["orientations"]
    measured = [record.model_copy(update={"caption": MEASURED}) for record in records]
    assert free_captions(finetune_recipe(model="none"), measured) == {}
    assert free_captions(finetune_recipe(model="none", prompt="class"), records) == {}
