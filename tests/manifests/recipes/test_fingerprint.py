"""Tests of the fingerprint."""

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest

from didgen.manifests.recipes.fingerprint import fingerprint, without_added


def test_the_fingerprint_does_not_depend_on_order_or_process() -> None:
    value = {"b": [1, 2.5, None], "a": {"ü": True}}
    shuffled = json.loads('{"a": {"ü": true}, "b": [1, 2.5, null]}')
    assert fingerprint(value) == fingerprint(shuffled)
    code = (
        "from didgen.manifests.recipes.fingerprint import fingerprint;"
        "print(fingerprint({'b': [1, 2.5, None], 'a': {'\\u00fc': True}}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == fingerprint(value)


@pytest.mark.parametrize("rows", [[], [1], [{"b": 1, "a": "ü"}, [None, 2.5], "x"]])
def test_an_iterator_stands_for_its_list(rows: list[object]) -> None:
    whole = {"recipe": {"seed": 1, "a": [1, 2]}, "plan": rows, "z": "end", "masks": {}}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    assert fingerprint(whole) == hashlib.sha256(text.encode()).hexdigest()
    assert fingerprint(whole | {"plan": iter(rows)}) == fingerprint(whole)
    assert fingerprint({"plan": iter(rows)}) == fingerprint({"plan": rows})


def test_other_values_are_hashed_as_they_are() -> None:
    for value in ([], {}, ["a", "b"], {"a": (1, 2)}, "text"):
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        assert fingerprint(value) == hashlib.sha256(text.encode()).hexdigest()


def test_added_fields_are_left_out_where_they_say_what_was_done_before() -> None:
    added = {"new": [1], "part": {"new": False, "deep": {"new": "a"}}, "gone": 3}
    before = {"old": 1, "part": {"old": 2, "deep": {}}}
    part = {"old": 2, "new": False, "deep": {"new": "a"}}
    now = {"old": 1, "new": [1], "part": part}
    assert without_added(now, added) == before
    changes: tuple[dict[str, Any], ...] = (
        {"new": []},
        {"part": part | {"new": True}},
        {"part": {"old": 2, "new": 0.5, "deep": {"new": "b"}}},
        {"part": None},
    )
    for changed in changes:
        assert without_added(now | changed, added) != before
    assert without_added(now, {}) == now
