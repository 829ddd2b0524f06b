"""The page of a report: its parts as one HTML file that needs nothing else."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from didgen.downstream.pages import BASE_STYLE
from didgen.downstream.pages.document import Heading, Table
from didgen.downstream.report.blocks import Content, Part
from didgen.downstream.report.folders import parts_of
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import write_bytes
from didgen.manifests.locks import sole_writer
from didgen.manifests.progress import Progress

NAME = "report.html"

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """What stands below a heading of level 2, or before the first one, where it has no title."""

    id: str
    title: str
    blocks: Sequence[Content]


def report(directories: Sequence[Path], out: Path, progress: Progress | None = None) -> Path:
    """Write the report on folders to the file `out`, atomically; raises what `parts_of` raises.

    `progress` is called with (folders read, all that there are).
    """
    if out.is_dir():
        raise DidgenError(f"{out} is a folder; name a file, such as {out / NAME}.")
    parts = parts_of(directories, progress)
    title = parts[0].title if len(parts) == 1 else f"Study: {directories[0].resolve().name}"
    # A record may hold half a character, which JSON can name and UTF-8 cannot.
    page = render(title, parts).encode(errors="replace")
    with sole_writer(out.parent, "report", out):
        write_bytes(out, page)
    return out


def render(title: str, parts: Sequence[Part]) -> str:
    """Parts as HTML; the same parts give the same bytes."""
    numbered = [
        (f"part-{number}", part, sections(part.blocks, f"part-{number}"))
        for number, part in enumerate(parts, 1)
    ]
    template = _environment().get_template("page.html")
    return template.render(
        title=title, parts=numbered, links=links(parts), version=version("didgen")
    )


def links(parts: Sequence[Part]) -> dict[str, list[tuple[str, list[tuple[str, str]]]]]:
    """By the id of a part: which parts it is made from, and which are made from it, in words."""
    names = [(f"part-{number}", part.title) for number, part in enumerate(parts, 1)]
    uses = {
        (user, used)
        for user, part in enumerate(parts)
        for used, other in enumerate(parts)
        for folder in part.uses
        # A model lies in the folder of its finetuning.
        if user != used and folder.resolve().is_relative_to(Path(other.place).resolve())
    }
    return {
        name: [
            ("Made from", [names[used] for user, used in sorted(uses) if user == number]),
            ("Used by", [names[user] for user, used in sorted(uses) if used == number]),
        ]
        for number, (name, _) in enumerate(names)
    }


def sections(blocks: Iterable[Content], name: str) -> list[Section]:
    """Blocks parted at the headings of level 2."""
    found: list[tuple[str, list[Content]]] = [("", [])]
    for block in blocks:
        if isinstance(block, Heading) and block.level <= 2:
            found.append((block.text, []))
        else:
            found[-1][1].append(block)
    return [
        Section(f"{name}-{number}", title[:1].upper() + title[1:], inner)
        for number, (title, inner) in enumerate(found)
        if title or inner
    ]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader((_TEMPLATES, BASE_STYLE.parent)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pieces"] = _pieces
    environment.filters["kinds"] = _kinds
    environment.tests["of_kind"] = lambda block, kind: type(block).__name__ == kind
    return environment


def _kinds(table: Table) -> list[str]:
    """Whether each column of a table holds numbers, which are set to the right, or words."""
    columns = [[row[place] for row in table.rows] for place in range(len(table.header))]
    return [
        "number" if all(re.match(r"[-+]?\d|-?$", cell) for cell in column) else "words"
        for column in columns
    ]


def _pieces(text: str) -> list[str]:
    """A sentence in pieces, every second of which stood between backticks: a name."""
    pieces = text.split("`")
    return pieces if len(pieces) % 2 else [text]
