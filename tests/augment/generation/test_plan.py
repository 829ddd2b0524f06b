"""Tests of the plan: the recipe and what is known fix counts, seeds, prompts and layouts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from didgen.augment.captions.geometry import geometry, room
from didgen.augment.generation.layouts import Layouts
from didgen.augment.generation.plan import (
    PlannedImages,
    PlannedPairs,
    class_counts,
    pair_layouts,
    real_counts,
)
from didgen.augment.methods.generator import Planned
from didgen.augment.prompts.prompt import PREFIX
from didgen.augment.prompts.prompt_source import Prompts, captions_of
from didgen.augment.prompts.schema import Attributes
from didgen.augment.prompts.sentence import parse
from didgen.manifests.choices import PromptForm
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import AugmentRecipe, LayoutSubset
from didgen.manifests.recipes.fields import DRAWN
from didgen.manifests.shards.shard import check_key
from didgen.manifests.sources.records import SourceManifest
from tests.fixtures.captions import MEASURED, words
from tests.fixtures.recipes import drawn_recipe

REAL = {"MEL": 10, "NV": 50, "DF": 3}


def images_of(recipe: AugmentRecipe, real: Mapping[str, int], prompts: Prompts) -> list[Planned]:
    """All planned images of a recipe."""
    return list(PlannedImages(recipe, class_counts(recipe, real), prompts))


def pairs_of(
    recipe: AugmentRecipe, labels: Sequence[str], layouts: Layouts, prompts: Prompts
) -> list[Planned]:
    """All planned pairs of a recipe."""
    choices = pair_layouts(recipe, labels, layouts, prompts.captions)
    return list(PlannedPairs(recipe, choices, layouts, prompts))


def test_a_number_per_class_leaves_nevi_out_by_default() -> None:
    assert class_counts(drawn_recipe(images={"per_class": 7}), REAL) == {"MEL": 7, "DF": 7}


def test_numbers_class_by_class() -> None:
    asked = drawn_recipe(images={"per_class": {"MEL": 2, "DF": 0, "NV": 5}, "exclude": []})
    assert class_counts(asked, REAL) == {"MEL": 2, "NV": 5}


def test_a_class_that_is_named_is_not_left_out_by_default() -> None:
    assert class_counts(drawn_recipe(images={"per_class": {"NV": 2}}), REAL) == {"NV": 2}
    asked = drawn_recipe(images={"per_class": {"NV": 2, "MEL": 1}, "exclude": ["NV"]})
    assert class_counts(asked, REAL) == {"MEL": 1}


def test_fill_brings_every_class_to_the_largest() -> None:
    asked = AugmentRecipe.model_validate(
        {"source": "somewhere", "images": {"per_class": "fill", "exclude": []}}
    )
    made = class_counts(asked, REAL)
    assert {label: count + made.get(label, 0) for label, count in REAL.items()} == dict.fromkeys(
        REAL, 50
    )


@pytest.mark.parametrize(
    "images", [{"per_class": {"XYZ": 3}, "exclude": []}, {"per_class": 3, "exclude": ["XYZ"]}]
)
def test_an_unknown_class_is_refused(images: dict[str, object]) -> None:
    with pytest.raises(DidgenError, match="names the class XYZ, which is not among MEL, NV, DF"):
        class_counts(drawn_recipe(images=images), REAL)


@settings(max_examples=50, deadline=None)
@given(
    counts=st.dictionaries(st.sampled_from(["MEL", "NV", "DF"]), st.integers(0, 12), min_size=1),
    size=st.integers(1, 9),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_plan_makes_each_sample_once_and_mixes_classes(
    counts: dict[str, int], size: int, seed: int
) -> None:
    asked = drawn_recipe(images={"per_class": counts, "exclude": []}, seed=seed)
    planned = images_of(asked, REAL, Prompts(MEASURED, words))
    assert Counter(p.label for p in planned) == Counter({k: v for k, v in counts.items() if v})
    assert len({p.key for p in planned}) == len({p.seed for p in planned}) == len(planned)
    assert [p.index for p in planned] == sorted(p.index for p in planned)
    naive = [
        (label, index)
        for index in range(max(counts.values()))
        for label in REAL
        if index < counts.get(label, 0)
    ]
    assert [(p.label, p.index) for p in planned] == naive
    if planned:
        cut = asked.model_copy(update={"shard_size": size})
        plan = PlannedImages(cut, class_counts(cut, REAL), Prompts(MEASURED, words))
        shards = [plan.shard(index) for index in reversed(range(len(plan)))][::-1]
        assert [p for shard in shards for p in shard] == planned
        assert [plan.keys(n) for n in range(len(plan))] == [[p.key for p in s] for s in shards]
        assert all(len(shard) == size for shard in shards[:-1])
        assert all(0 < len(shard) <= size for shard in shards)


def test_a_sample_depends_on_its_class_and_index_alone() -> None:
    few = images_of(drawn_recipe(images={"per_class": 2}), REAL, Prompts(MEASURED, words))
    many = images_of(drawn_recipe(images={"per_class": 5}), REAL, Prompts(MEASURED, words))
    assert set(few) < set(many)
    other = images_of(drawn_recipe(images={"per_class": 2}, seed=1), REAL, Prompts(MEASURED, words))
    assert not {p.seed for p in few} & {p.seed for p in other}


@pytest.mark.parametrize("per_class", [2, {"NV": 2, "MEL": 1}])
@pytest.mark.parametrize("exclude", [{}, {"exclude": []}, {"exclude": ["NV"]}])
def test_a_recipe_plans_the_same_after_a_trip_through_its_record(
    per_class: object, exclude: dict[str, list[str]]
) -> None:
    asked = drawn_recipe(images={"per_class": per_class} | exclude)
    again = AugmentRecipe.model_validate(asked.model_dump(mode="json"))
    assert class_counts(again, REAL) == class_counts(asked, REAL)
    wanted = (isinstance(per_class, dict) and not exclude) or exclude.get("exclude") == []
    assert ("NV" in class_counts(asked, REAL)) == wanted


def test_classes_that_share_their_letters_are_refused() -> None:
    captions = captions_of([("a b", "one"), ("a-b", "two")])
    with pytest.raises(DidgenError, match="'a-b' stands for more than one"):
        images_of(
            drawn_recipe(images={"per_class": 1, "exclude": []}),
            {"a b": 1, "a-b": 1},
            Prompts(captions, words),
        )


def test_the_default_exclusion_asks_for_no_class_called_nv() -> None:
    assert class_counts(drawn_recipe(images={"per_class": 2}), {"benign": 4, "malignant": 0}) == {
        "benign": 2
    }
    asked = drawn_recipe(pairs={"count": 1, "layouts": "drawn", "exclude": ["XYZ"]})
    with pytest.raises(DidgenError, match="`pairs` names the class XYZ"):
        pairs_of(asked, list(REAL), Layouts(64), Prompts(MEASURED, words))


def test_the_prompt_of_a_pair_speaks_of_its_layout() -> None:
    layouts = Layouts(64)
    for planned in pairs_of(
        drawn_recipe(pairs={"count": 12, "layouts": "drawn"}),
        list(REAL),
        layouts,
        Prompts(MEASURED, words),
    ):
        attributes = parse(planned.prompt.removeprefix(PREFIX))
        assert isinstance(attributes, Attributes)
        assert attributes.lesion is not None
        drawn = geometry(layouts.mask(planned.layout, planned.seed))
        assert attributes.lesion == attributes.lesion.model_copy(update=drawn._asdict())


def test_drawn_pairs_take_the_classes_in_turn() -> None:
    asked = drawn_recipe(pairs={"count": 5, "layouts": "drawn"})
    planned = pairs_of(asked, list(REAL), Layouts(64), Prompts(MEASURED, words))
    assert [p.label for p in planned] == ["MEL", "NV", "DF", "MEL", "NV"]
    assert {p.layout for p in planned} == {DRAWN}


def test_drawn_pairs_are_of_classes_with_captions_or_of_none() -> None:
    asked = drawn_recipe(pairs={"count": 3, "layouts": "drawn"})
    planned = pairs_of(asked, [*REAL, "BCC"], Layouts(64), Prompts(MEASURED, words))
    assert [p.label for p in planned] == ["MEL", "NV", "DF"]
    unlabelled = Prompts(captions_of([(None, "a large round lesion at the center.")]), words)
    planned = pairs_of(asked, list(REAL), Layouts(64), unlabelled)
    assert [p.label for p in planned] == ["", "", ""]
    nothing = drawn_recipe(pairs={"count": 1, "layouts": "drawn", "exclude": list(REAL)})
    with pytest.raises(DidgenError, match="lets no class through that has captions"):
        pairs_of(nothing, list(REAL), Layouts(64), Prompts(MEASURED, words))


def test_keys_of_a_long_class_name_fit_a_shard_and_a_mix() -> None:
    name = "x" * 200
    prompts = Prompts(captions_of([(name, "one")]), words)
    (planned,) = images_of(drawn_recipe(images={"per_class": 1}), {name: 1}, prompts)
    check_key(f"synthetic-{planned.key}")


def test_source_pairs_use_every_training_mask_before_one_comes_again(
    manifest: SourceManifest,
) -> None:
    prompts = Prompts(captions_of((r.label, r.caption) for r in manifest.records), words)
    every = manifest.select(split="train", masked=True)
    allowed = {r.key for r in every if r.label != "NV"}
    assert len(allowed) < len(every)
    plan = {"count": 2 * len(allowed), "exclude": ["NV"]}
    asked = AugmentRecipe.model_validate({"source": "s", "pairs": plan})
    planned = pairs_of(asked, manifest.header.classes, Layouts(64, manifest), prompts)
    assert {p.layout for p in planned[: len(allowed)]} == allowed
    assert {p.layout for p in planned[len(allowed) :]} == allowed
    labels = {r.key: r.label for r in manifest.records}
    assert all(p.label == labels[p.layout] for p in planned)


def test_a_mask_that_comes_again_is_measured_once(
    manifest: SourceManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    reading = Layouts.mask

    def mask(self: Layouts, name: str, seed: int, mask_of: str = "") -> np.ndarray:
        read.append(name)
        return reading(self, name, seed, mask_of)

    monkeypatch.setattr(Layouts, "mask", mask)
    prompts = Prompts(captions_of((r.label, r.caption) for r in manifest.records), words)
    asked = AugmentRecipe.model_validate({"source": "s", "pairs": {"count": 40}})
    layouts = Layouts(64, manifest)
    planned = pairs_of(asked, manifest.header.classes, layouts, prompts)
    assert len(planned) == 40 > len(read)
    assert sorted(read) == sorted({p.layout for p in planned})
    for pair in planned:
        left = room(reading(layouts, pair.layout, pair.seed))
        assert pair.prompt == prompts.draw(pair.label, pair.seed, left)


def test_a_lesion_outside_the_square_gives_no_layout(
    manifest: SourceManifest, tmp_path: Path
) -> None:
    wide = np.zeros((64, 256), np.uint8)
    wide[:, :20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    record = manifest.select(split="train")[0]
    assert record.mask is not None
    (tmp_path / record.image).parent.mkdir()
    (tmp_path / record.mask).parent.mkdir()
    (tmp_path / "wide.png").rename(tmp_path / record.mask)
    header = manifest.header.model_copy(update={"root": str(tmp_path)})
    layouts = Layouts(64, SourceManifest(header, (record,)))
    asked = AugmentRecipe.model_validate({"source": "s", "pairs": {"count": 1, "exclude": []}})
    with pytest.raises(DidgenError, match="No layout is left for pairs"):
        pairs_of(asked, manifest.header.classes, layouts, Prompts(MEASURED, words))


def test_pairs_without_any_layout_are_refused(manifest: SourceManifest) -> None:
    asked = AugmentRecipe.model_validate(
        {"source": "s", "pairs": {"count": 1, "exclude": list(manifest.header.classes)}}
    )
    with pytest.raises(DidgenError, match="No layout is left for pairs"):
        pairs_of(asked, manifest.header.classes, Layouts(64, manifest), Prompts({}, words))


def test_real_counts_are_of_the_training_split(manifest: SourceManifest) -> None:
    naive = Counter(r.label for r in manifest.records if r.split == "train")
    assert real_counts(manifest) == {c: naive[c] for c in manifest.header.classes}


def test_no_class_of_pairs_is_left_out_unless_it_is_asked_for(manifest: SourceManifest) -> None:
    """Section 3.3 of the paper guides pairs by training masks, of nevi too."""
    prompts = Prompts(captions_of((r.label, r.caption) for r in manifest.records), words)
    every = manifest.select(split="train", masked=True)
    asked = AugmentRecipe.model_validate({"source": "s", "pairs": {"count": len(every)}})
    planned = pairs_of(asked, manifest.header.classes, Layouts(64, manifest), prompts)
    assert {p.layout for p in planned} == {r.key for r in every}


def test_a_source_without_classes_gives_images_without_one() -> None:
    asked = drawn_recipe(images={"per_class": 3})
    prompts = Prompts(captions_of([(None, "a large round lesion at the center.")]), words)
    for planned in images_of(asked, {}, prompts):
        assert (planned.label, planned.layout) == ("", "")
        assert planned.key == f"image-{planned.index:06d}"
    assert class_counts(asked, {"MEL": 0}) == {"": 3}


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("prefix", PREFIX.rstrip()),
        ("class", f"{PREFIX}melanoma"),
        ("caption", f"{PREFIX}melanoma,"),
    ],
)
def test_a_prompt_says_as_much_as_its_form(form: PromptForm, text: str) -> None:
    prompts = Prompts(MEASURED if form == "caption" else {}, words, form=form)
    asked = drawn_recipe(images={"per_class": {"MEL": 2}})
    for planned in images_of(asked, REAL, prompts):
        assert planned.prompt.startswith(text)
        assert form == "caption" or planned.prompt == text


def test_a_million_samples_are_planned_from_their_places() -> None:
    """Any shard is planned as fast as the first, and like that of a plan that is written out."""
    asked = drawn_recipe(
        images={"per_class": {"MEL": 600_000, "NV": 399_990, "DF": 10}}, shard_size=8
    )
    asked = asked.model_copy(
        update={"images": asked.images and asked.images.model_copy(update={"exclude": ()})}
    )
    plan = PlannedImages(asked, class_counts(asked, REAL), Prompts(MEASURED, words))
    assert (plan.samples, len(plan)) == (10**6, 125_000)
    assert [p.label for p in plan.shard(0)] == ["MEL", "NV", "DF"] * 2 + ["MEL", "NV"]
    # After ten rounds of three and 399,980 of two, melanomas are alone.
    place = 30 + 2 * 399_980
    assert [plan.planned(n).label for n in (place - 1, place)] == ["NV", "MEL"]
    assert plan.planned(10**6 - 1).index == 599_999


def test_layouts_of_a_part_of_the_source_are_nested(manifest: SourceManifest) -> None:
    kept = [
        {*Layouts(64, manifest, keep=LayoutSubset(k=count, seed=(7, 1))).records}
        for count in (2, 4)
    ]
    assert [len(keys) for keys in kept] == [2, 4] and kept[0] < kept[1]
    assert {*Layouts(64, manifest, keep=LayoutSubset(k=4, seed=(7, 2))).records} != kept[1]
    with pytest.raises(DidgenError, match="asks for 400 masks and the source has"):
        _ = Layouts(64, manifest, keep=LayoutSubset(k=400)).records
