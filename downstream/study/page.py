"""The page of a study: its chapters as Markdown with curves, as a record, as LaTeX and CSV."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from didgen.downstream.benchmark.plots import written_curves
from didgen.downstream.pages.document import (
    BENCHMARK_NAME,
    STUDY_NAME,
    Block,
    Heading,
    Paragraph,
    Picture,
    markdown,
    to_records,
)
from didgen.downstream.study.chapter import Chapter, chapter
from didgen.downstream.study.forms import comma_separated, latex
from didgen.downstream.study.graph import Stage
from didgen.downstream.study.hours import Estimate
from didgen.downstream.study.published import placeless
from didgen.downstream.study.tables import cost_table, read_printed
from didgen.manifests.files import read_json, write_bytes, write_json

PAGE_NAME = "study.md"


def write_tables(
    stages: Mapping[str, Stage],
    found: Mapping[str, Estimate],
    paper: Path | None,
    folders: Iterable[Path],
    state: Path,
) -> None:
    """Write all tables into folders: a page with the curves, the record that a report reads, and
    each table as LaTeX and CSV. None of them names a place of this machine."""
    benchmarks = {n: one for n, one in stages.items() if one.command in ("classify", "segment")}
    printed = read_printed(paper, {n: s.command for n, s in benchmarks.items()}) if paper else []
    chapters = [
        chapter(
            name,
            placeless(read_json(stage.out / BENCHMARK_NAME), state),
            [one for one in printed if one.benchmark == name],
        )
        for name, stage in benchmarks.items()
        if found[name].basis == "done"
    ]
    waiting = [name for name in benchmarks if found[name].basis != "done"]
    cost = cost_table(stages, found)
    end = [Paragraph(f"Not done yet: {', '.join(waiting)}.")] if waiting else []
    for folder in folders:
        page: list[Block] = [Heading("Study", 1)]
        for one in chapters:
            page += [Heading(one.name), *_pictures(one, folder), *one.blocks]
        page += [*end, Heading("What it took"), cost]
        write_bytes(folder / PAGE_NAME, markdown(page).encode())
        write_json(folder / STUDY_NAME, _record(chapters, [*end, Heading("What it took"), cost]))
        for table_of in [*(one.tables for one in chapters), {"cost": cost}]:
            for name, table in table_of.items():
                write_bytes(folder / f"{name}.tex", latex(table).encode())
                write_bytes(folder / f"{name}.csv", comma_separated(table).encode())


def _pictures(one: Chapter, folder: Path) -> Iterator[Picture]:
    """Draw the curves of a benchmark into a folder of the page."""
    for curves in one.curves:
        made = written_curves(curves, folder / one.name)
        yield Picture(f"{one.name}/{made['file']}", made["title"], made["caption"])


def _record(chapters: Iterable[Chapter], end: Iterable[Block]) -> dict[str, Any]:
    """What `study.json` holds."""
    return {
        "format": 1,
        "chapters": [
            {
                "name": one.name,
                "blocks": to_records(one.blocks),
                "curves": [asdict(curves) for curves in one.curves],
            }
            for one in chapters
        ],
        "end": to_records(end),
    }
