"""Collections: public data sets as their archives unpack, each described by its files' names.

A module of its own describes each set; `gathering` finds and reads its files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from didgen.manifests.choices import Split
from didgen.manifests.importers.finding.tables import RawTable, Row, stated
from didgen.manifests.importers.labels import hot_of

Saying: TypeAlias = str | Callable[[Row], str]
"""What a row says of something: a column's name, or what makes it of the row."""

Needs: TypeAlias = Literal["label", "mask", "either"]
"""What the images of a part must have to be imported."""


@dataclass(frozen=True)
class OneHot:
    """Reads a label off 0/1 columns; a row of 0s alone is `otherwise`."""

    columns: tuple[str, ...]
    otherwise: str = ""

    def __call__(self, row: Row) -> str:
        if self.otherwise and all(stated(row.get(name)) == "0" for name in self.columns):
            return self.otherwise
        return hot_of(row, self.columns)


@dataclass(frozen=True)
class Table:
    """A table of a set: names of its file, the likeliest first, and what its rows say.

    `header` names the columns of a file without a line of names, and `read` reads what is no CSV.
    Rows of which `unfit` gives a reason are left out. A table that is not `complete` lists images
    that need not be there.
    """

    files: tuple[str, ...]
    image: str
    label: Saying = ""
    lesion: str = "lesion_id"
    patient: str = "patient_id"
    split: str = ""
    licence: str = ""
    header: tuple[str, ...] = ()
    read: Callable[[Path], RawTable] | None = None
    unfit: Callable[[Row], str] | None = None
    complete: bool = True

    @property
    def needed(self) -> list[str]:
        """The columns that the table must have: those of lesions alone where it has no label."""
        if isinstance(self.label, OneHot):
            return [self.image, *self.label.columns]
        if callable(self.label):
            return [self.image]
        return [self.image, self.label or self.lesion]


@dataclass(frozen=True)
class Part:
    """One part of a set: the folders of its images and masks, its tables, and its given split.

    Folders are patterns; without one, images lie anywhere. Of the tables in `labels` the first that
    is there is read; those in `lesions` fill each other's gaps. With `listed_only`, images that no
    table names are passed by.
    """

    name: str = ""
    images: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    labels: tuple[Table, ...] = ()
    lesions: tuple[Table, ...] = ()
    split: Split | None = None
    needs: Needs = "either"
    lesions_needed: bool = False
    listed_only: bool = False
    source: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Collection:
    """A public data set: its parts, and the class that each of its labels becomes.

    A label that becomes None names no class. Labels are written in lower case. `hint` is how images
    of other labels may be had.
    """

    name: str
    title: str
    licence: str
    labels: Mapping[str, str | None]
    parts: tuple[Part, ...]
    hint: str = "import it as a folder of your own to have it"
