"""Tables: CSV files as people write them, with every row that cannot be trusted left out."""

import csv
import io
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from didgen.manifests.errors import DidgenError
from didgen.manifests.images import read_file
from didgen.manifests.importers.finding.trees import composed
from didgen.manifests.sources.records import CLASSES
from didgen.manifests.sources.rejections import Rejection

NOTHING = {
    *("nan", "-nan", "null", "none", "na", "n/a", "#na", "#n/a", "<na>", "nat", "-", "--", "?"),
    *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "unknown", "unk", "undefined", "missing"),
}
"""What pandas and people write where there is nothing, in lower case."""

MARKS = ",;\t|"
"""What parts columns, the likeliest first."""

JOINERS = "\u200c\u200d"

SEPARATOR = re.compile(r"\ufeff?\"?sep=(.)\"?\r?\n", re.IGNORECASE)
"""The line before the names of columns by which Excel is told what parts them."""

OTHERS = {
    b"PK\x03\x04": "a workbook or an archive",
    b"\xd0\xcf\x11\xe0": "a workbook of old Excel",
    b"\x1f\x8b": "packed by gzip",
    b'{"': "JSON",
    b"[{": "JSON",
}
"""What files begin with that are given for a table, and what they are."""

UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """A line of a table, which is named where something is said of it."""

    table: Path
    number: int

    @property
    def name(self) -> str:
        return f"{self.table.name} line {self.number}"

    def __str__(self) -> str:
        return f"{self.table} line {self.number}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, by the squashed names of its columns."""

    cells: Mapping[str, str]
    place: Line

    def get(self, column: str) -> str:
        """A cell by its column's name in any writing, empty where there is none."""
        return self.cells.get(squashed(column), "")


@dataclass
class RawTable:
    """A table as it was read: its columns, squashed and as they are written, and its rows."""

    path: Path
    columns: Mapping[str, str]
    rows: list[Row]
    rejections: list[Rejection] = field(default_factory=list)


@cache
def squashed(name: str) -> str:
    """A column's name without case, spaces and what parts words."""
    return re.sub(r"[\s_.\-]+", "", visible(composed(name))).casefold()


def visible(text: str) -> str:
    """Text without what is not seen and came by copying: marks of byte order and of direction,
    spaces of no width, soft hyphens. Joiners stay, which some scripts are written with."""
    if text.isascii():
        return text
    return "".join(c for c in text if unicodedata.category(c) != "Cf" or c in JOINERS)


def stated(text: str) -> str:
    """What a cell says, empty where it is a word for nothing; 7.0 is 7, as pandas writes it."""
    text = visible(text).strip()
    if text.casefold() in NOTHING:
        return ""
    whole, point, rest = text.partition(".")
    return whole if point and whole.isdecimal() and rest and not rest.strip("0") else text


def label_of(text: str) -> str:
    """The class that a cell or a folder names: ISIC's codes in any case, else as it is."""
    text = stated(text)
    return text.upper() if text.upper() in CLASSES else text


def read_table(path: Path, known: Collection[str], header: Sequence[str] = ()) -> RawTable:
    """Read a CSV whose columns are parted by comma, semicolon, tab or bar.

    It is parted as finds most of the columns `known`. `header` are the columns of a file without a
    line of names. Cells are stripped and composed; rows of more cells than columns are rejected. A
    column that is named twice, and a file that is no CSV, are a `DidgenError`.
    """
    text = _text(path)
    told = SEPARATOR.match(text)
    text = text[told.end() :] if told else text
    try:
        names = {mark: list(header) or _first(text, mark) for mark in MARKS}
        wanted = {squashed(name) for name in known}
        mark = max(MARKS, key=lambda m: len(wanted.intersection(map(squashed, names[m]))))
        if header:
            mark = next((m for m in MARKS if len(_first(text, m)) == len(header)), ",")
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True, strict=True
        )
        columns = names[mark] if header else next(reader, [])
        above = 1 if told else 0
        lines = [(reader.line_num + above, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DidgenError(
            f"{path} is not CSV ({error}); close every quotation mark, and save it as such."
        ) from None
    return _table(path, columns, lines)


def _table(path: Path, columns: list[str], lines: list[tuple[int, list[str]]]) -> RawTable:
    short = [squashed(name) for name in columns]
    for name, key in zip(columns, short, strict=True):
        if key and short.count(key) > 1:
            raise DidgenError(
                f"{path} has the column {name.strip()} more than once; give each a name of its own."
            )
    written = {key: name.strip() for key, name in zip(short, columns, strict=True) if key}
    table = RawTable(path, written, [])
    for line, cells in lines:
        place = Line(path, line)
        if any(map(str.strip, cells[len(columns) :])):
            sentence = (
                f"{place} has {len(cells)} cells under {len(columns)} columns; put cells that hold "
                "a comma in quotation marks."
            )
            table.rejections.append(Rejection.of(place, "bad-row", sentence))
            continue
        values = {key: composed(cell.strip()) for key, cell in zip(short, cells, strict=False)}
        table.rows.append(Row(values, place))
    return table


def _text(path: Path) -> str:
    if path.is_dir():
        raise DidgenError(f"{path} is a folder; name the table in it.")
    data = read_file(path)
    for start, kind in OTHERS.items():
        if data.startswith(start):
            raise DidgenError(f"{path} is {kind}, and no CSV; save the table as UTF-8 CSV.")
    try:
        text = data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DidgenError(f"{path} is not UTF-8 CSV ({error}); save it as such.") from None
    if "\0" in text:
        raise DidgenError(f"{path} is not UTF-8 CSV (it holds zero bytes); save it as such.")
    return text


def _first(text: str, mark: str) -> list[str]:
    """The cells of the first line of a CSV."""
    return next(
        csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True), []
    )
