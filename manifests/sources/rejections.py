"""Rejections: files and rows of tables that an import left out, each with its reason."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

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


class Rejection(BaseModel):
    """One file, or one row of a table, that was not imported, and the sentence that says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    reason: Reason
    sentence: str

    @classmethod
    def of(cls, path: Path, reason: Reason, sentence: str) -> Self:
        """Reject `path`; names that are no UTF-8 are made writable first."""
        return cls(file=writable(str(path)), reason=reason, sentence=writable(sentence))


def writable(text: str) -> str:
    """Text as it can be written: bytes of a name that are no UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()


def write_rejections(folder: Path, rejections: Iterable[Rejection]) -> None:
    """Write `rejected.jsonl`: one rejected file a line, in the order given."""
    write_json_lines(folder / REJECTED_FILE, (r.model_dump(mode="json") for r in rejections))
