"""Tests of parts: every shard is of exactly one part."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.augment.generation.part import Part
from tests.fixtures.places import REPOSITORY


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


def test_the_documented_array_job_gives_a_task_that_is_sent_again_its_own_part() -> None:
    page = (REPOSITORY / "docs" / "how-to" / "cluster.md").read_text()
    last = re.search(r"--array=1-(\d+)", page)
    line = re.search(r"didgen augment .*--part (\S+)", page)
    assert last is not None and line is not None
    # What Slurm tells a task that is sent again: its own number, and that it is the only one.
    told = {"$SLURM_ARRAY_TASK_ID": "17", "$SLURM_ARRAY_TASK_COUNT": "1"}
    text = line[1]
    for name, value in told.items():
        text = text.replace(name, value)
    assert Part.parse(text) == Part(17, int(last[1]))
