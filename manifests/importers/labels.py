"""Labels: what the rows of a table say of images, and which image each row means."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from posixpath import splitext
from typing import Literal

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import IMAGE_SUFFIXES
from didgen.manifests.importers.finding.folders import public_importer, split_named
from didgen.manifests.importers.finding.harvest import Harvest
from didgen.manifests.importers.finding.tables import (
    Line,
    RawTable,
    Row,
    label_of,
    read_table,
    squashed,
    stated,
)
from didgen.manifests.importers.finding.trees import FOREIGN_SUFFIXES, Names, composed
from didgen.manifests.sources.records import CLASSES, SPLITS

ROLES: dict[str, tuple[str, ...]] = {
    "image": (
        "image",
        "image_id",
        "image_name",
        "file_name",
        "file",
        "isic_id",
        "img_id",
        "image_path",
        "file_path",
        "path",
        "img",
    ),
    "label": ("label", "class", "diagnosis", "dx", "category", "class_name", "label_name"),
    "lesion_id": ("lesion_id", "lesion"),
    "patient_id": ("patient_id", "patient", "subject_id", "subject"),
    "split": ("split", "set", "subset", "partition"),
}
"""What a column may be called that says one thing of images; its first name goes before others."""

GROUP_WORDS = ("lesion", "patient", "subject", "case", "split", "fold", "group")
"""Parts of names of columns that may say what belongs together, although they are not known."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """What one row of a table says of an image; what it does not say is None.

    `folder` and `name` are the image's as the row gives them. `written` is the label as a public
    table writes it, `unfit` why its image is not wanted.
    """

    name: str
    folder: tuple[str, ...]
    place: Line
    label: str | None = None
    lesion_id: str | None = None
    patient_id: str | None = None
    split: Split | None = None
    licence: str | None = None
    written: str = ""
    unfit: str = ""

    @property
    def said(self) -> dict[str, str]:
        """What it says, in words."""
        facts = {"class": self.label, "lesion": self.lesion_id, "patient": self.patient_id}
        return {name: text for name, text in {**facts, "split": self.split}.items() if text}


@dataclass
class LabelTable:
    """The rows of a label table, the names of images whose row is faulty, and its columns."""

    path: Path
    rows: list[ImageRow] = field(default_factory=list)
    faulty: set[str] = field(default_factory=set)
    sentence: str = ""


def read_labels(path: Path, harvest: Harvest) -> LabelTable:
    """Read a table of image and label, or of image and one 0/1 column for each ISIC class.

    Columns that say lesion, patient and split are optional; names match in any writing. HAM10000's
    `dx` holds codes alone. Rows that cannot be used are rejected one by one. A file that is no CSV,
    lacks the needed columns, or has two for one thing is a `DidgenError`.
    """
    raw = read_table(path, [name for names in ROLES.values() for name in names] + [*CLASSES])
    roles = _roles(raw)
    one_hot = "label" not in roles
    harvest.rejections += raw.rejections
    table = LabelTable(path, sentence=_columns(raw, roles, one_hot))
    for row in raw.rows:
        said = {role: row.get(column) for role, column in roles.items()}
        label = _hot(row) if one_hot else label_of(said["label"])
        if squashed(roles.get("label", "")) == "dx" and label not in CLASSES:
            label = ""
        folder, name = image_of(said["image"])
        split = split_named(said.get("split", ""))
        if not name or not label or (stated(said.get("split", "")) and split is None):
            table.faulty.add(name)
            sentence = (
                f"{row.place} does not give one image, one class (a one-hot row has one 1 among "
                f"0s) and, if any, a split of {', '.join(SPLITS)}; correct the row."
            )
            harvest.reject(row.place, "bad-label", sentence, label or None)
            continue
        lesion, patient = (stated(said.get(role, "")) for role in ("lesion_id", "patient_id"))
        table.rows.append(
            ImageRow(name, folder, row.place, label, lesion or None, patient or None, split)
        )
    _reject_joined(table, harvest)
    blank = sum(row.lesion_id is None for row in table.rows)
    if "lesion_id" in roles and blank:
        harvest.note(
            f"{blank} rows of {path.name} give no lesion, and each was taken for one of its own."
        )
    return table


def _reject_joined(table: LabelTable, harvest: Harvest) -> None:
    """Reject the rows that give two classes in one cell, such as `MEL;NV` where both are classes.

    What is no class by itself is part of a name, such as `melanoma / in situ`.
    """
    labels = {row.label for row in table.rows}
    joined = {
        label
        for label in filter(None, labels)
        if len(parts := [label_of(part) for part in re.split(r"[;|/+&,]", label)]) > 1
        if labels.issuperset(parts) or {*CLASSES}.issuperset(parts)
    }
    for row in (row for row in table.rows if row.label in joined):
        table.faulty.add(row.name)
        sentence = f"{row.place} gives {row.name} more than one class ({row.label}); keep one."
        harvest.reject(row.place, "bad-label", sentence)
    table.rows = [row for row in table.rows if row.label not in joined]


def _roles(raw: RawTable) -> dict[str, str]:
    """The column that says each thing; of several, the one of its first name."""
    roles = {}
    for role, names in ROLES.items():
        found = [name for name in names if squashed(name) in raw.columns]
        if len(found) > 1 and found[0] != names[0]:
            raise DidgenError(
                f"{raw.path} has more than one column for the {role.replace('_', ' ')}, "
                f"{', '.join(found)}; name the right one {role}."
            )
        if found:
            roles[role] = found[0]
    missing = [name for name in CLASSES if squashed(name) not in raw.columns]
    lacking = [] if "image" in roles else ["image"]
    if "label" not in roles and missing:
        # A whole layout if there is one, else the one that most columns point to.
        lacking += missing if len(missing) < len(CLASSES) else ["label"]
    if lacking:
        public = public_importer(raw.path.name)
        mend = f"; it is of a public set: didgen import {public}" if public else ""
        raise DidgenError(
            f"{raw.path} has no column {', '.join(lacking)}; its first line must name image and "
            f"label, or image and the codes of the seven ISIC classes{mend}."
        )
    return roles


def _columns(raw: RawTable, roles: Mapping[str, str], one_hot: bool) -> str:
    """Say which columns of a table were used, and which were not."""
    used = {squashed(column): role for role, column in roles.items()}
    if one_hot:
        used |= {squashed(name): name for name in CLASSES}
    told = [
        raw.columns[key] if key == squashed(role) else f"{raw.columns[key]} as {role}"
        for key, role in used.items()
        if key in raw.columns
    ]
    sentence = f"Columns of {raw.path.name} that were used: {', '.join(told)}"
    if unused := [name for key, name in raw.columns.items() if key not in used]:
        sentence += f"; not used: {', '.join(unused)}"
    if doubtful := [name for name in unused if any(w in squashed(name) for w in GROUP_WORDS)]:
        sentence += (
            f" ({doubtful[0]} has to be named lesion_id, patient_id or split to count as one)"
        )
    return sentence + "."


def _hot(row: Row) -> str:
    """The class of a row of one 1 among 0s; empty for any other row."""
    return hot_of(row, CLASSES)


def hot_of(row: Row, columns: Sequence[str]) -> str:
    """The column of a row that has one 1 among 0s; empty for any other row."""
    if any(squashed(column) not in row.cells for column in columns):
        # The row is cut off.
        return ""
    try:
        values = [_flag(row.get(column)) for column in columns]
    except ValueError:
        return ""
    one_hot = values.count(1) == 1 and values.count(0) == len(values) - 1
    return columns[values.index(1)] if one_hot else ""


def _flag(cell: str) -> float:
    """A cell of a one-hot row as a number: a word of truth, or nothing where 0 is left out."""
    # A spreadsheet of many a country writes 1,0.
    text = stated(cell).casefold().replace(",", ".")
    return float({"": "0", "false": "0", "true": "1"}.get(text, text))


def image_of(text: str) -> tuple[tuple[str, ...], str]:
    """The folder and the name of an image as a table gives it, perhaps by a path of Windows.

    The name has no ending of an image file.
    """
    folder, _, name = composed(text).replace("\\", "/").rstrip("/").rpartition("/")
    stem, suffix = splitext(name)
    known = suffix.lower() in (*IMAGE_SUFFIXES, *FOREIGN_SUFFIXES)
    return PurePosixPath(folder).parts if folder else (), stem if known else name


def assign(
    rows: Sequence[ImageRow],
    images: Sequence[Path],
    foreign: Mapping[Path, str],
    harvest: Harvest,
    *,
    absent: Literal["lost", "told", "expected"] = "lost",
) -> tuple[dict[Path, ImageRow], set[Path]]:
    """The row of each image, and the images that have none because their rows are at fault.

    Rows of one image that contradict each other leave it out, and so does a row that may mean
    several images. A row whose image is absent is rejected, unless that is expected; its class is
    lost where nothing else is of it, unless that is only told.
    """
    names, others = Names(images), Names([*foreign])
    claims: defaultdict[Path, list[ImageRow]] = defaultdict(list)
    out: set[Path] = set()
    ways = [(row, names.find(row.name, row.folder)) for row in rows]
    # Rows that name the folder of an image mean it; those of other folders then mean others.
    near = {
        found[0]
        for row, found in ways
        if row.folder and len(found) == 1 and names.alike(found[0], row.folder)
    }
    for row, found in ways:
        far = bool(row.folder) and len(found) == 1 and not names.alike(found[0], row.folder)
        if len(found) == 1 and not (far and found[0] in near):
            claims[found[0]].append(row)
        elif len(found) > 1:
            out.update(found)
            sentence = (
                f"{row.place} names one of {len(found)} images {row.name}, {found[0]} first; "
                "rename all but one, or give the row the folder of its image."
            )
            harvest.reject(row.place, "duplicate-id", sentence)
        elif absent != "expected":
            sentence = _absent(row, others.find(row.name, row.folder), foreign)
            label = row.label if absent == "lost" else None
            harvest.reject(row.place, "missing-image", sentence, label)
    chosen = {}
    for path, claiming in claims.items():
        if path not in out and (settled := _settled(path, claiming, harvest)):
            chosen[path] = settled
    for path in sorted(out):
        sentence = f"{path} is one of several images {path.stem}; rename all but one."
        harvest.reject(path, "duplicate-id", sentence)
    return chosen, out | (claims.keys() - chosen.keys())


def _absent(row: ImageRow, found: Sequence[Path], foreign: Mapping[Path, str]) -> str:
    """Say of a row that its image is not there, or is of a format that is not read."""
    if found:
        form = foreign[found[0]]
        return f"{row.place} names {found[0]}, which is {form} and not read; save it as PNG."
    says = f"gives {row.name} a label" if row.label else f"names {row.name}"
    return f"{row.place} {says} but there is no such image; restore it."


def _settled(path: Path, rows: Sequence[ImageRow], harvest: Harvest) -> ImageRow | None:
    """The one row of an image, or the first of several that say the same; None of others."""
    first = rows[0]
    for row in rows[1:]:
        for name in {**first.said, **row.said}:
            one, other = (found.said.get(name, "none") for found in (first, row))
            if one != other:
                sentence = (
                    f"{path} has the {name} {one} by {first.place} and {other} by "
                    f"{row.place.name}; keep the right row."
                )
                harvest.reject(path, "contradiction", sentence)
                for label in {found.label for found in rows} - {None}:
                    harvest.labels.setdefault(str(label), sentence)
                return None
        sentence = f"{row.place} lists {row.name} again and was not used; keep one row of it."
        harvest.reject(row.place, "duplicate-id", sentence)
    return first
