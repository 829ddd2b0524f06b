"""Harvests: what an importer found in folders and tables, before a file of it is opened."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from didgen.manifests.choices import Split
from didgen.manifests.sources.rejections import Reason, Rejection
from didgen.manifests.sources.splits import group_of


@dataclass(frozen=True)
class Candidate:
    """One image as an importer found it, not opened yet; a `split` of None is yet to be drawn."""

    key: str
    image: Path
    mask: Path | None
    label: str | None
    lesion_id: str
    split: Split | None
    source: str
    licence: str
    patient_id: str | None = None

    @property
    def group(self) -> str:
        """What is dealt to one split as a whole."""
        return group_of(self.lesion_id, self.patient_id)


@dataclass
class Harvest:
    """What an importer found: candidates, what it had to leave out already, what it understood.

    `labels` are those of files and rows that were left out, each with one reason: a class of which
    nothing else is there is lost. `label_map` counts the labels of a public set, each with the
    class that it became.
    """

    candidates: list[Candidate] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    label_map: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    def reject(
        self, place: object, reason: Reason, sentence: str, label: str | None = None
    ) -> None:
        """Leave out a file or a line of a table; `label` is the class it would have been of."""
        self.rejections.append(Rejection.of(place, reason, sentence))
        if label is not None:
            self.labels.setdefault(label, sentence)

    def note(self, sentence: str) -> None:
        """Have a sentence said after the import."""
        self.notes.append(sentence)
