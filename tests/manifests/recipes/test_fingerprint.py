"""Tests of the fingerprint."""

import json
import subprocess
import sys

from didgen.manifests.recipes.fingerprint import fingerprint


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
