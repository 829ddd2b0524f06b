"""The spill: values come back as they went in, to any number of readers at once."""

import gc
import os

import pytest

from didgen.manifests.runs import spill
from didgen.manifests.runs.spill import Spill


def test_values_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BLOCK", 5)
    values = [["a", 1, None], {"b": "ü\n"}, "", [], *range(300)]
    full = Spill()
    assert list(full.read()) == []
    for value in values:
        full.append(value)
    assert list(full.read()) == values
    one, other = full.read(), full.read()
    assert [next(one), next(one), next(other), next(one)] == [*values[:2], values[0], values[2]]


def test_a_part_is_read_by_its_ends() -> None:
    full = Spill()
    ends = [full.end]
    for value in ("a", "bb", "ccc"):
        full.append(value)
        ends.append(full.end)
    assert list(full.read(ends[1], ends[3])) == ["bb", "ccc"]
    assert list(full.read(ends[1], ends[1])) == []
    full.append("d")
    assert list(full.read(ends[3])) == ["d"]


def test_its_file_goes_with_it() -> None:
    full = Spill()
    descriptor = full._file.fileno()
    del full
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
