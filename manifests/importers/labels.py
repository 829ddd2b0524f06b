"""Label tables: CSV files that give images their class, lesion and split."""

import csv
import io
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from didgen.manifests.choices import Split
from didgen.manifests.errors import DidgenError
from didgen.manifests.images import IMAGE_SUFFIXES, read_file
from didgen.manifests.sources.records import CLASSES, SPLITS, Rejection

PLAIN = ("image", "label")
ONE_HOT = ("image", *CLASSES)
HAM = ("image_id", "dx")


@dataclass(frozen=True)
class LabelRow:
    """What a table says of one image; `place` names the file and the line."""

    label: str
    lesion_id: str | None
    split: Split | None
    place: Path


@dataclass
class LabelTable:
    """The rows of a label table by image name; images whose row is faulty; the rejected rows."""

    rows: dict[str, LabelRow] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)
    rejections: list[Rejection] = field(default_factory=list)


def read_labels(path: Path) -> LabelTable:
    """Read a table of image and label, or of image and one 0/1 column for each ISIC class.

    `lesion_id` and `split` columns are optional. HAM10000's `image_id` and `dx` are read too.
    Rows that cannot be used are rejected one by one; of two that name one image the first is used,
    and neither where they name two of different folders. A file that is no CSV or lacks the needed
    columns is a `DidgenError`.
    """
    layout, rows = _read_rows(path, PLAIN, ONE_HOT, HAM)
    table = LabelTable()
    folders: dict[str, PurePosixPath] = {}
    for line, row in rows:
        place = path.with_name(f"{path.name} line {line}")
        image = image_name(row[layout[0]])
        label = _label(row, layout)
        split = next((split for split in SPLITS if split == row.get("split")), None)
        folder = _path(row[layout[0]]).parent
        if folders.setdefault(image, folder) != folder:
            table.faulty.add(image)
            first = table.rows.pop(image, None)
            for where in [first.place, place] if first else [place]:
                sentence = f"{where} names one of several images {image}; rename all but one."
                table.rejections.append(Rejection.of(where, "duplicate-id", sentence))
        elif image in table.rows or image in table.faulty:
            sentence = f"{place} lists {image} again and was not used; keep one row of it."
            table.rejections.append(Rejection.of(place, "duplicate-id", sentence))
        elif not image or label is None or (row.get("split") and split is None):
            table.faulty.add(image)
            sentence = (
                f"{place} does not give one image, one class (a one-hot row has one 1 among 0s) "
                f"and, if any, a split of {', '.join(SPLITS)}; correct the row."
            )
            table.rejections.append(Rejection.of(place, "bad-label", sentence))
        else:
            table.rows[image] = LabelRow(label, row.get("lesion_id") or None, split, place)
    return table


def read_lesions(path: Path) -> dict[str, str]:
    """Read image -> lesion id from ISIC's LesionGroupings or HAM10000's metadata.

    A file that is no CSV, lacks the needed columns, or gives an image two lesions is a
    `DidgenError`.
    """
    layout, rows = _read_rows(path, ("image", "lesion_id"), ("image_id", "lesion_id"))
    lesions: dict[str, str] = {}
    for line, row in rows:
        image, lesion = image_name(row[layout[0]]), row["lesion_id"]
        if lesion and lesions.setdefault(image, lesion) != lesion:
            raise DidgenError(
                f"{path} line {line} gives {image} a second lesion, {lesion}, after "
                f"{lesions[image]}; keep one of the rows."
            )
    return lesions


def image_name(text: str) -> str:
    """The name by which tables, images and masks are matched: no folder, no image suffix."""
    path = _path(composed(text))
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def composed(text: str) -> str:
    """Text in Unicode's composed form (NFC): some systems store the names of files in parts."""
    return unicodedata.normalize("NFC", text)


def _path(text: str) -> PurePosixPath:
    """A path as a table gives it, perhaps of Windows."""
    return PurePosixPath(text.replace("\\", "/"))


def _columns(text: str, mark: str) -> list[str]:
    """The names in the first line of a CSV."""
    first = next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), [])
    return [name.strip() for name in first]


def _read_rows(
    path: Path, *layouts: tuple[str, ...]
) -> tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]:
    """Read a CSV as the first layout whose columns it has, and its rows with line numbers.

    Cells are stripped and composed; absent ones are empty. Semicolons and tabs part columns too.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
        mark = next((m for m in ",;\t" if any(map({*_columns(text, m)}.issuperset, layouts))), ",")
        columns = _columns(text, mark)
        reader = csv.DictReader(io.StringIO(text, newline=""), columns, delimiter=mark)
        next(reader, None)
        rows = [
            (
                reader.line_num,
                {column: composed((row[column] or "").strip()) for column in columns},
            )
            for row in reader
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DidgenError(f"{path} is not UTF-8 CSV ({error}); save it as such.") from None
    lacking = {layout: [name for name in layout if name not in columns] for layout in layouts}
    # A whole layout if there is one, else the one most columns point to.
    nearest = min(
        layouts, key=lambda names: (bool(lacking[names]), len(lacking[names]) - len(names))
    )
    if lacking[nearest]:
        raise DidgenError(
            f"{path} has no column {', '.join(lacking[nearest])}; its first line must name "
            f"{', '.join(nearest)}."
        )
    return nearest, rows


def _label(row: dict[str, str], layout: tuple[str, ...]) -> str | None:
    if layout == PLAIN:
        return row["label"] or None
    if layout == HAM:
        code = row["dx"].upper()
        return code if code in CLASSES else None
    try:
        values = [float(row[label]) for label in CLASSES]
    except ValueError:
        return None
    one_hot = values.count(1) == 1 and values.count(0) == len(values) - 1
    return CLASSES[values.index(1)] if one_hot else None
