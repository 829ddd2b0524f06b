"""Tests of the kappas against scikit-learn, the published example of Fleiss, and by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.downstream.stats.agreement import cohen, fleiss

CATEGORIES = st.sampled_from(["accepted", "rejected", "disputed"])

FLEISS_1971 = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
"""The example of Wikipedia's page on Fleiss' kappa: 10 items, 14 raters, kappa 0.210."""


def test_cohen_by_hand() -> None:
    # Of 50: 20 both yes, 15 both no, 5 and 10 apart; p_o 0.7, p_e 0.5, kappa 0.4.
    one = ["y"] * 25 + ["n"] * 25
    other = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    found = cohen(one, other)
    assert found.n == 50
    assert found.observed == pytest.approx(0.7)
    assert found.value == pytest.approx(0.4)
    assert found.low is not None and found.high is not None
    assert found.low < 0.4 < found.high


@given(st.lists(st.tuples(CATEGORIES, CATEGORIES), min_size=1, max_size=40))
def test_cohen_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    one, other = zip(*pairs, strict=True)
    found = cohen(one, other)
    if len({*one, *other}) == 1:
        assert found.value is None and found.observed == 1
        return
    assert found.value is not None
    assert found.value == pytest.approx(cohen_kappa_score(one, other))
    if found.low is not None and found.high is not None:
        assert -1 <= found.low <= found.value + 1e-9
        assert found.value - 1e-9 <= found.high <= 1
    else:
        assert min(len({*one}), len({*other})) == 1
    assert cohen(other, one).value == pytest.approx(found.value)


def test_fleiss_is_that_of_the_published_example() -> None:
    items = [
        [str(category) for category, count in enumerate(row) for _ in range(count)]
        for row in FLEISS_1971
    ]
    found = fleiss(items)
    assert found.value == pytest.approx(0.210, abs=5e-4)
    assert found.observed == pytest.approx(0.378, abs=5e-4)


@given(
    st.integers(2, 5).flatmap(
        lambda n: st.lists(st.lists(CATEGORIES, min_size=n, max_size=n), min_size=1, max_size=20)
    )
)
def test_fleiss_by_its_definition(items: list[list[str]]) -> None:
    found = fleiss(items)
    raters, names = len(items[0]), sorted({name for item in items for name in item})
    pairs = raters * (raters - 1)
    agree = [sum(item.count(n) * (item.count(n) - 1) for n in names) / pairs for item in items]
    observed = sum(agree) / len(items)
    shares = [sum(item.count(n) for item in items) / (raters * len(items)) for n in names]
    chance = sum(share**2 for share in shares)
    assert found.observed == pytest.approx(observed)
    if len(names) == 1:
        assert found.value is None
    else:
        assert found.value is not None
        assert found.value == pytest.approx((observed - chance) / (1 - chance))
        assert math.isfinite(found.value) and found.value <= 1 + 1e-9


def test_ratings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="same items"):
        cohen(["a"], [])
    with pytest.raises(ValueError, match="same items"):
        cohen([], [])
    for items in ([], [["a"]], [["a", "b"], ["a"]]):
        with pytest.raises(ValueError, match="number of ratings"):
            fleiss(items)
