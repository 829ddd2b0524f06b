"""Tests of the splits: no shared lesion, exact shares, no dependence on order."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didgen.manifests.errors import DidgenError
from didgen.manifests.sources.records import SPLITS
from didgen.manifests.sources.splits import split_groups

SHARES = (0.8, 0.1, 0.1)
IMAGES = st.lists(
    st.tuples(st.integers(0, 40).map("lesion{}".format), st.sampled_from(["MEL", "NV", None])),
    max_size=120,
)
FRACTIONS = st.sampled_from(
    [SHARES, (0.6, 0.2, 0.2), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.0, 0.3, 0.7)]
)


@settings(deadline=None, max_examples=150)
@given(images=IMAGES, fractions=FRACTIONS, seed=st.integers(), data=st.data())
def test_every_group_is_dealt_once_whatever_the_order(
    images: list[tuple[str, str | None]],
    fractions: tuple[float, float, float],
    seed: int,
    data: st.DataObject,
) -> None:
    splits = split_groups(images, seed=seed, fractions=fractions)
    assert splits.keys() == {group for group, _ in images}
    closed = {s for s, share in zip(SPLITS, fractions, strict=True) if not share}
    assert closed.isdisjoint(splits.values())
    shuffled = data.draw(st.permutations(images))
    assert split_groups(shuffled, seed=seed, fractions=fractions) == splits


@settings(deadline=None, max_examples=150)
@given(images=IMAGES, fractions=FRACTIONS, data=st.data())
def test_groups_that_must_train_do_and_no_share_of_nothing_is_given(
    images: list[tuple[str, str | None]],
    fractions: tuple[float, float, float],
    data: st.DataObject,
) -> None:
    groups = sorted({group for group, _ in images})
    training = set(data.draw(st.lists(st.sampled_from(groups)))) if groups else set()
    splits = split_groups(images, seed=1, fractions=fractions, training=training)
    assert splits.keys() == set(groups)
    assert {splits[group] for group in training} <= {"train"}
    closed = {s for s, share in zip(SPLITS, fractions, strict=True) if not share}
    assert closed.isdisjoint(splits[group] for group in set(groups) - training)


def test_what_must_train_counts_for_the_share_of_train() -> None:
    images = [(f"g{number}", "NV") for number in range(100)]
    for forced in (0, 30, 80, 95):
        training = {f"g{number}" for number in range(forced)}
        splits = split_groups(images, seed=7, fractions=SHARES, training=training)
        found = Counter(splits.values())
        assert found["train"] == max(80, forced)
        assert abs(found["val"] - found["test"]) <= 1


@settings(deadline=None, max_examples=150)
@given(
    sizes=st.dictionaries(st.text("abcdefgh", min_size=1), st.integers(1, 9), min_size=3),
    seed=st.integers(0, 9),
)
def test_three_groups_of_a_class_reach_three_splits(sizes: dict[str, int], seed: int) -> None:
    images = [(group, "DF") for group, size in sizes.items() for _ in range(size)]
    splits = split_groups(images, seed=seed, fractions=SHARES)
    assert set(splits.values()) == {"train", "val", "test"}


@settings(deadline=None, max_examples=100)
@given(
    counts=st.fixed_dictionaries({"MEL": st.integers(10, 300), "NV": st.integers(10, 300)}),
    fractions=st.sampled_from([SHARES, (0.7, 0.2, 0.1), (0.5, 0.25, 0.25)]),
)
def test_single_images_meet_the_shares_to_rounding(
    counts: dict[str, int], fractions: tuple[float, float, float]
) -> None:
    images = [(f"{label}{i}", label) for label, count in counts.items() for i in range(count)]
    splits = split_groups(images, seed=1, fractions=fractions)
    for label, count in counts.items():
        found = Counter(splits[group] for group, stratum in images if stratum == label)
        for split, share in zip(SPLITS, fractions, strict=True):
            assert abs(found[split] - share * count) < 1


def test_grouped_images_meet_the_shares_when_singles_can_fill_up() -> None:
    images = [(f"g{i}", "BKL") for i in range(300) for _ in range((1, 1, 1, 2, 3, 6)[i % 6])]
    splits = split_groups(images, seed=3, fractions=SHARES)
    found = Counter(splits[group] for group, _ in images)
    for split, share in zip(SPLITS, SHARES, strict=True):
        assert abs(found[split] - share * len(images)) < 1
    sizes = Counter(group for group, _ in images)
    large = Counter(splits[group] for group, size in sizes.items() if size > 1)
    assert min(large.values()) > 0.05 * large.total()


def test_one_group_goes_to_train_and_none_is_nothing() -> None:
    assert split_groups([("a", "DF")] * 5, seed=0, fractions=SHARES) == {"a": "train"}
    assert split_groups([], seed=0, fractions=SHARES) == {}


def test_a_group_of_mixed_labels_counts_for_the_most_frequent() -> None:
    # The mixed group is the only one of class A when its majority decides.
    mixed = [("mixed", "A"), ("mixed", "B"), ("mixed", "A")]
    others = [(f"b{i}", "B") for i in range(10)]
    splits = split_groups(mixed + others, seed=0, fractions=SHARES)
    assert splits["mixed"] == "train"
    found = Counter(splits[group] for group, _ in others)
    assert found == {"train": 8, "val": 1, "test": 1}


def test_the_seed_changes_who_goes_where() -> None:
    images = [(f"g{i}", "NV") for i in range(50)]
    dealt = defaultdict(set)
    for seed in range(5):
        splits = split_groups(images, seed=seed, fractions=SHARES)
        dealt[frozenset(g for g, s in splits.items() if s == "test")].add(seed)
    assert len(dealt) == 5


def test_the_deal_is_fixed_for_all_time() -> None:
    # A change here would put images that a model was trained on into its test split.
    splits = split_groups([(f"g{i}", "NV") for i in range(10)], seed=42, fractions=SHARES)
    assert {g: s for g, s in splits.items() if s != "train"} == {"g6": "val", "g3": "test"}


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5), (float("nan"), 0.5, 0.5)]
)
def test_wrong_fractions_are_one_sentence(fractions: tuple[float, ...]) -> None:
    with pytest.raises(DidgenError, match="not three shares that sum to 1"):
        split_groups([("a", "NV")], seed=0, fractions=fractions)  # type: ignore[arg-type]
