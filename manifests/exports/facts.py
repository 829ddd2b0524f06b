"""Facts: what a sample's record says, as the columns of a table."""

from typing import Any

from didgen.manifests.exports.sound_run import Members, record_of

VALUES = {str: "string", bool: "bool", int: "int64", float: "float64"}


def sample_facts(members: Members) -> dict[str, Any]:
    """What a sample's record says beside key and class, in one level: text and numbers only."""
    facts: dict[str, Any] = {}
    for name, value in record_of(members).items():
        inner = value if isinstance(value, dict) else {"": value}
        facts |= {f"{name}_{n}".rstrip("_"): v for n, v in inner.items() if type(v) in VALUES}
    # `datasets` would take a field with such a name for the path of a further image.
    taken = {"key", "image", "mask", "label", "class"}
    return {
        n: v
        for n, v in facts.items()
        if n not in taken and not n.endswith(("file_name", "file_names"))
    }
