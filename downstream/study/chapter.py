"""The chapter of a study: what it says of one finished benchmark, as blocks, tables and curves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from didgen.downstream.pages.arms import (
    chosen_uses,
    history,
    known_interval,
    scarcity,
    tested_on,
)
from didgen.downstream.pages.curves import PARTS, Curves, curves_of
from didgen.downstream.pages.document import Block, Heading, Listing, Paragraph, Table
from didgen.downstream.pages.tables import CROSSED, number, p_value
from didgen.downstream.study.tables import Printed, figures_table, notes


@dataclass(frozen=True)
class Chapter:
    """What a study says of one benchmark: its blocks, and its curves.

    tables: those among the blocks by the names of their files.
    """

    name: str
    blocks: Sequence[Block]
    tables: Mapping[str, Table]
    curves: Sequence[Curves]


def chapter(name: str, benchmark: Mapping[str, Any], printed: Sequence[Printed]) -> Chapter:
    """The choice, the verdicts, the curves and the figures of a finished benchmark."""
    tables: dict[str, Table] = {}
    blocks: list[Block] = [*history(benchmark)]
    for end, said in _said(benchmark):
        for block in said:
            if isinstance(block, Table):
                tables[f"{name}-{end}"] = block
            blocks.append(replace(block, level=3) if isinstance(block, Heading) else block)
    if (gains := gains_table(f"{name}: verdicts", benchmark)) is not None:
        tables[f"{name}-gains"] = gains
        together = [one["sentence"] for one in benchmark.get("against_all") or []]
        blocks += [Heading("Verdicts", 3), Paragraph(CROSSED), gains]
        blocks += [Listing(together)] if together else []
    for place, (title, arms) in enumerate(tested_on(benchmark)):
        theirs = () if place else printed
        table = figures_table(f"{name}: {title}", benchmark["kind"], arms, theirs)
        tables[f"{name}-outside" if place else name] = table
        blocks += [Heading(title, 3), *(() if place else notes(benchmark, printed)), table]
    return Chapter(name, blocks, tables, curves_of(benchmark))


def _said(benchmark: Mapping[str, Any]) -> Iterator[tuple[str, list[Block]]]:
    """Blocks of the benchmark's own page, each with the end of its tables' names."""
    yield "uses", chosen_uses(benchmark)
    parts = scarcity(benchmark)
    yield "by-real", parts[:1]
    # A paragraph before each table says what it is of.
    for place in range(1, len(parts), 2):
        table = parts[place + 1]
        assert isinstance(table, Table), "a paragraph, then its table"
        part = next(part for part in PARTS if f" on {part} images" in table.caption)
        yield f"by-real-{part}", parts[place : place + 2]


def gains_table(caption: str, benchmark: Mapping[str, Any]) -> Table | None:
    """Every verdict, with the smallest gain that its test could have shown; None without one.

    A family is the comparisons on one part of the images.
    """
    judged = [one for one in benchmark["comparisons"] if one.get("judged", True)]
    rows = [
        [
            one["model"],
            one.get("part", "test"),
            f"{one['treatment']} minus {one['control']}",
            number(one["smallest_gain"]),
            f"{one['difference']:+.3f}",
            known_interval(one["crossed" if one["seeds"] > 1 else "over_units"]["interval"]),
            p_value(one["p_holm"]),
            str(one["family"]),
            str(one["seeds"]),
            one["verdict"],
        ]
        for one in judged
    ]
    header = ["network", "images", "difference of", "smallest gain", "difference", "interval"]
    return (
        Table([*header, "p after Holm", "of", "seeds", "verdict"], rows, caption) if rows else None
    )
