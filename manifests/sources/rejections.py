"""Rejections: files and rows of tables that an import left out, each with its reason."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, Self

from didgen.manifests.files import write_json_lines

REJECTED_FILE = "rejected.jsonl"

Reason = Literal[
    "bad-label",
    "bad-record",
    "bad-row",
    "bad-table",
    "contradiction",
    "duplicate-content",
    "duplicate-id",
    "empty-mask",
    "looks-like-mask",
    "mask-size",
    "missing-ground-truth",
    "missing-image",
    "missing-label",
    "missing-lesion",
    "missing-mask",
    "missing-patient",
    "non-binary-mask",
    "not-dermoscopic",
    "other-format",
    "other-label",
    "too-small",
    "trained-on",
    "unreadable-image",
    "unreadable-mask",
]


class Rejection(NamedTuple):
    """One file, or one row of a table, that was not imported, and the sentence that says why."""

    file: str
    reason: Reason
    sentence: str

    @classmethod
    def of(cls, place: object, reason: Reason, sentence: str) -> Self:
        """Reject a file or a line by its name; one that is no UTF-8 is made writable first."""
        return cls(file=writable(str(place)), reason=reason, sentence=writable(sentence))


def writable(text: str) -> str:
    """Text as it can be written: bytes of a name that are no UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()


def write_rejections(folder: Path, rejections: Iterable[Rejection]) -> None:
    """Write `rejected.jsonl`: one rejected file a line, in the order given."""
    write_json_lines(folder / REJECTED_FILE, (r._asdict() for r in rejections))
