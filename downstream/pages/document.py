"""Documents: headings, paragraphs, tables and pictures, and their Markdown.

A page says what a record holds once, as blocks; what it is written in is decided by who reads it:
Markdown beside the figures, HTML in the report.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Heading:
    """A heading; the page's own has level 1."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Plain text; what stands between backticks is a name."""

    text: str


@dataclass(frozen=True)
class Listing:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Cells as text: the first column names the row. The caption is for those who hear a page."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str


@dataclass(frozen=True)
class Picture:
    """A picture by its path in the folder of the page."""

    file: str
    title: str
    caption: str


Block: TypeAlias = Heading | Paragraph | Listing | Table | Picture


def markdown(blocks: Iterable[Block]) -> str:
    """A document as Markdown."""
    return "\n\n".join(_lines(block) for block in blocks) + "\n"


def _lines(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Paragraph():
            return block.text
        case Listing():
            return "\n".join(f"- {item}" for item in block.items)
        case Table():
            # The first column is text, the others are set to the right.
            rule = ["---", *["---:"] * (len(block.header) - 1)]
            return "\n".join(map(_row, (block.header, rule, *block.rows)))
        case Picture():
            return f"![{block.title}]({block.file})\n\n{block.caption}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


KINDS = {kind.__name__: kind for kind in (Heading, Paragraph, Listing, Table, Picture)}


def to_records(blocks: Iterable[Block]) -> list[dict[str, Any]]:
    """Blocks as JSON values, each with its kind."""
    return [{"block": type(block).__name__, **asdict(block)} for block in blocks]


def from_records(records: Iterable[Mapping[str, Any]]) -> list[Block]:
    """The blocks of such values; a KeyError or TypeError where one is none."""
    return [
        KINDS[record["block"]](**{name: v for name, v in record.items() if name != "block"})
        for record in records
    ]


BENCHMARK_NAME, STUDY_NAME = "benchmark.json", "study.json"
