"""Fingerprints: the hash of everything that decides a result."""

import hashlib
import json
from typing import Any


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
