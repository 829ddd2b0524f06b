"""Tests of parts: every shard is of exactly one part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.augment.generation.part import Part


@given(st.integers(1, 40), st.integers(0, 200))
def test_every_shard_is_of_one_part_and_parts_differ_by_one_at_most(
    count: int, shards: int
) -> None:
    parts = [Part.parse(f"{number}/{count}") for number in range(1, count + 1)]
    taken = [[place for place in range(shards) if part.has(place)] for part in parts]
    assert sorted(place for places in taken for place in places) == list(range(shards))
    sizes = [len(places) for places in taken]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1/0", "1", "a/b", "1/4/2", "-1/4", " 1/4", "1/4\n", "٣/٤"]
)
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"part|form"):
        Part.parse(text)


def test_one_part_is_all() -> None:
    assert all(Part().has(place) for place in range(10))
