"""Seeds: a sample's own seed, derived from the run's seed and the sample's place."""

import hashlib
import json


def derived_seed(*parts: str | int) -> int:
    """A seed in [0, 2^63) that is a hash of its parts."""
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
