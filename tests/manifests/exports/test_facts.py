"""Tests of the facts of a sample: its record as the columns of a table."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.exports.facts import VALUES, sample_facts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def members(record: Any) -> dict[str, bytes]:
    """The members of a sample with this record."""
    return {"jpg": b"J", "json": json.dumps(record).encode()}


def test_one_level_below_the_record_is_joined_to_its_names() -> None:
    record = {"prompt": "a lesion", "seed": 7, "scores": {"contrast": 0.5, "kept": True}}
    assert sample_facts(members(record)) == {
        "prompt": "a lesion",
        "seed": 7,
        "scores_contrast": 0.5,
        "scores_kept": True,
    }


def test_what_is_no_text_and_no_number_is_left_out() -> None:
    assert sample_facts(members({"a": None, "b": [1], "c": {"d": {"e": 1}}, "f": 1})) == {"f": 1}


@pytest.mark.parametrize("name", ["key", "image", "mask", "label", "class"])
def test_a_column_of_the_sample_itself_is_not_said_twice(name: str) -> None:
    assert sample_facts(members({name: "x", "fine": 1})) == {"fine": 1}


@pytest.mark.parametrize("name", ["file_name", "mask_file_name", "file_names", "x_file_names"])
def test_no_column_is_taken_for_a_path(name: str) -> None:
    assert sample_facts(members({name: "/etc/passwd"})) == {}


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff", b"", b"[" * 100_000])
def test_a_record_that_is_none_has_no_facts(data: bytes) -> None:
    assert sample_facts({"jpg": b"J", "json": data}) == {}


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_every_fact_has_a_type_of_the_table(record: dict[str, Any]) -> None:
    assert {type(value) for value in sample_facts(members(record)).values()} <= VALUES.keys()
