"""Fingerprints: the hash of everything that decides a result."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form.

    An iterator as a value of a mapping stands for the list of what it gives, however long.
    """
    digest = hashlib.sha256()
    streamed = isinstance(value, Mapping) and any(isinstance(v, Iterator) for v in value.values())
    for piece in _pieces(value) if streamed else [_text(value)]:
        digest.update(piece.encode())
    return digest.hexdigest()


_ABSENT = object()


def without_added(fields: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe, as JSON values, less those of `added` that hold the value there.

    added: fields that recipes did not always have, with the value of what was done before, and for
    a section the same of its fields. A run that was begun without such a field then goes on where
    a recipe says this value or nothing. A section of which nothing is left is left out.
    """
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        before = added.get(name, _ABSENT)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            if inner := without_added(value, before):
                kept[name] = inner
        elif before is _ABSENT or before != value:
            kept[name] = value
    return kept


def _pieces(mapping: Mapping[str, Any]) -> Iterator[str]:
    """The text of a mapping, piece by piece."""
    for number, name in enumerate(sorted(mapping)):
        yield f"{',' if number else '{'}{_text(name)}:"
        value = mapping[name]
        if not isinstance(value, Iterator):
            yield _text(value)
            continue
        yield "["
        for place, one in enumerate(value):
            yield f"{',' if place else ''}{_text(one)}"
        yield "]"
    yield "}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
