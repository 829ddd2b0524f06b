"""The terminal: what an inspection found, as rich prints it on a terminal."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from didgen.manifests.errors import printable
from didgen.manifests.runs.verify import Verdict
from didgen.manifests.sources.records import SPLITS, SummaryRow, summary
from didgen.manifests.views.attention_maps import FIELD
from didgen.manifests.views.contents import FoundImage, FoundSample, RunContents, SourceContents

SHOWN = 10
"""Failures that are told one by one."""


def contents_listing(contents: RunContents | SourceContents) -> Iterator[RenderableType]:
    """What a run or a source holds: counts by class and split, and what is not there."""
    if isinstance(contents, SourceContents):
        yield from _source(contents)
    else:
        yield from _run(contents)


def sample_listing(found: FoundSample | FoundImage) -> Iterator[RenderableType]:
    """All that is recorded of one sample, a field a line."""
    if isinstance(found, FoundImage):
        yield _fields(found.record.key, found.record.model_dump(mode="json"))
        return
    where = f"{found.config}, {found.split}, {found.shard}"
    # The record in the tar says what the row says, and more; what only the row has comes after.
    reported = found.record | {n: v for n, v in found.row.items() if n not in found.record}
    reported |= {name: f"{len(data)} bytes" for name, data in sorted(found.members.items())}
    if isinstance(history := reported.get(FIELD), Mapping):
        reported[FIELD] = f"maps at steps {history.get('steps')} of {history.get('of')}"
    yield _fields(f"{found.key} ({where})", reported)


def _run(contents: RunContents) -> Iterator[RenderableType]:
    kind = contents.recipe.get("kind", "unknown")
    state = "finished" if contents.manifest else "not finished: it has no manifest.json"
    yield _text(f"{contents.directory}: a run of `{kind}`, {state}.")
    for fault in contents.faults:
        yield _text(fault)
    counts = contents.counts
    columns = list(dict.fromkeys((config, split) for config, split, _ in counts))
    rows = {
        label: [counts[config, split, label] for config, split in columns]
        for label in contents.classes
    }
    yield _counts("Samples", [f"{config}, {split}" for config, split in columns], rows)
    tally = contents.tally
    yield _text(f"{tally.failures} planned samples were not made.")
    for failure in tally.failed[:SHOWN]:
        yield _text(f"  {failure.key}: {failure.reason}")
    if tally.failures > SHOWN:
        yield _text(f"  and {tally.failures - SHOWN} more")
    for reason, count in tally.rejections.most_common():
        yield _text(f"Drawn again, {count}: {reason}.")


def import_table(rows: Sequence[SummaryRow]) -> Table:
    """The images of an import by class and split, those with a mask in brackets."""
    table = Table(title="Images (of these with a mask)")
    table.add_column("class")
    patients = any(row.patients for row in rows)
    for column in (*SPLITS, "lesions", *(["patients"] if patients else [])):
        table.add_column(column, justify="right")
    for label in dict.fromkeys(row.label for row in rows):
        by_split = {row.split: row for row in rows if row.label == label}
        cells = [f"{by_split[split].images} ({by_split[split].pairs})" for split in SPLITS]
        cells.append(str(sum(row.lesions for row in by_split.values())))
        if patients:
            cells.append(str(sum(row.patients for row in by_split.values())))
        table.add_row(_text(label), *cells)
    return table


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """Verdicts of `verify`, the mend beside each that is not ok."""
    table = Table("file", "status", "")
    for verdict in verdicts:
        colour = "green" if verdict.status == "ok" else "red"
        status = Text(verdict.status, style=colour)
        table.add_row(_text(str(verdict.file)), status, _text(verdict.sentence))
    return table


def _source(contents: SourceContents) -> Iterator[RenderableType]:
    header, records = contents.manifest.header, contents.manifest.records
    yield _text(
        f"{contents.directory}: a source manifest of {header.importer}, from {header.root}."
    )
    reported = summary(contents.manifest)
    rows = {
        label: [
            row.images
            for split in SPLITS
            for row in reported
            if (row.label, row.split) == (label, split)
        ]
        for label in dict.fromkeys(row.label for row in reported)
    }
    yield _counts("Images", list(SPLITS), rows)
    masks = sum(record.mask is not None for record in records)
    captions = sum(record.caption is not None for record in records)
    yield _text(f"{len(records)} images, {masks} with a mask, {captions} with a caption.")
    for reason, count in contents.rejected.most_common():
        yield _text(f"Rejected files, {count}: {reason}.")


def _counts(title: str, columns: list[str], rows: Mapping[str, list[int]]) -> Table:
    table = Table(title=title)
    table.add_column("class")
    for column in (*columns, "all"):
        table.add_column(column, justify="right")
    for label, counts in rows.items():
        table.add_row(_text(label or "no class"), *map(str, counts), str(sum(counts)))
    sums = [sum(column) for column in zip(*rows.values(), strict=True)]
    table.add_row("all", *map(str, sums), str(sum(sums)), style="bold")
    return table


def _text(text: str) -> Text:
    """Text that is no markup and moves no cursor: control characters are shown as escapes."""
    return Text(printable(text))


def _fields(title: str, reported: Mapping[str, Any]) -> Table:
    table = Table("field", title=_text(title))
    table.add_column("value", overflow="fold")
    for name, value in reported.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        table.add_row(_text(name), _text(shown))
    return table
