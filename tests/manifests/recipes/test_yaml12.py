"""Tests of YAML 1.2: the core schema, what is written comes back, and nothing grows without end."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from didgen.manifests.recipes.yaml12 import MAX_BYTES, MAX_DEPTH, read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e-5", 1e-5),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        (".inf", math.inf),
        ("~", None),
        ("", None),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("'no'", "no"),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, value: Any) -> None:
    found = read_yaml(text)
    assert found == value and type(found) is type(value)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(value=values)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert read_yaml(write_yaml(value)) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "comes twice"),
        ("[" * (MAX_DEPTH + 1), "nested"),
        ("[" * 100_000, "nested"),
        ("#" * (MAX_BYTES + 1), "bytes"),
        ("&a [*a]", "aliases"),
        ("".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9 if n else 1}]\n" for n in range(12)), "aliases"),
        ("!!python/object/apply:os.getcwd []", "constructor"),
    ],
)
def test_what_is_out_of_bounds_is_refused(text: str, words: str) -> None:
    with pytest.raises((yaml.YAMLError, RecursionError), match=words):
        read_yaml(text)
