"""Seen keys: each is new once, in memory or beyond it."""

from contextlib import closing

import pytest

from didgen.manifests.runs import seen_keys
from didgen.manifests.runs.seen_keys import SeenKeys


@pytest.mark.parametrize("kibibytes", [seen_keys.MEMORY, 64])
def test_a_key_is_new_once(monkeypatch: pytest.MonkeyPatch, kibibytes: int) -> None:
    monkeypatch.setattr(seen_keys, "MEMORY", kibibytes)
    with closing(SeenKeys()) as seen:
        keys = [f"images/synthetic-{number * 7919 % 20_000:06d}" for number in range(20_000)]
        assert all(seen.add(key) for key in keys)
        assert not any(seen.add(key) for key in keys[::999])
        assert seen.add("images/another") and not seen.add("images/another")
