"""The tables of a study: the tested figures of each benchmark, and what every stage took.

Figures of a paper stand in rows of their own, named as such. They are nobody's but the paper's: the
recipe names a CSV that somebody copied them into, and nothing is printed without it.
"""

import csv
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from didgen.downstream.pages.arms import SCOPES, known_interval, labels
from didgen.downstream.pages.document import Block, Listing, Paragraph, Table
from didgen.downstream.pages.tables import spread, units_of
from didgen.downstream.study.graph import Stage
from didgen.downstream.study.hours import Estimate
from didgen.manifests.errors import DidgenError

MICRO = ("micro P", "micro R", "micro F1")

FIGURES: dict[str, dict[str, str]] = {
    "classify": {
        "balanced accuracy": "balanced_accuracy",
        **dict.fromkeys(MICRO, "accuracy"),
        **{
            f"{kind} {short}": f"{kind}_{name}"
            for kind in ("macro", "weighted")
            for short, name in (("P", "precision"), ("R", "recall"), ("F1", "f1"))
        },
        "mean AUC": "mean_auc",
    },
    "segment": {
        "Dice": "dice",
        "IoU": "iou",
        "threshold Jaccard": "threshold_jaccard",
        "HD95": "hd95",
    },
}
"""The columns of figures by kind of benchmark, and what `benchmark.json` calls each."""

LABELS = ("network", "real", "arm")

ONE_NUMBER = (
    "An image has one class and gets one answer, so that micro precision, recall and F1 are one "
    "number, the accuracy. Weighted and macro averages stand beside it."
)

OURS, PRINTED = "ours", "as printed"


@dataclass(frozen=True)
class Printed:
    """A row of a paper's table: the benchmark that it belongs to, and its cells by column."""

    benchmark: str
    cells: Mapping[str, str]


def read_printed(path: Path, kinds: Mapping[str, str]) -> list[Printed]:
    """The rows of a CSV with the columns `benchmark`, network, real, arm, and figures.

    kinds: the kind of each benchmark. A benchmark or column that is not known is a `DidgenError`.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [*csv.DictReader(file)]
    except (OSError, UnicodeDecodeError) as error:
        raise DidgenError(f"{path} cannot be read ({error}); correct `paper`.") from None
    found = []
    for number, row in enumerate(rows, 2):
        name = row.pop("benchmark", None) or ""
        if kinds.get(name) not in FIGURES:
            raise DidgenError(f"{path} line {number}: {name or 'nothing'} is no benchmark.")
        known = [*LABELS, *FIGURES[kinds[name]]]
        for column, cell in row.items():
            if cell and column not in known:
                near = difflib.get_close_matches(str(column), known, n=1, cutoff=0)
                raise DidgenError(
                    f"{path} line {number}: {column} is no column of {name}; the nearest is "
                    f"{near[0]}."
                )
        found.append(Printed(name, {column: cell or "-" for column, cell in row.items()}))
    return found


def figures_table(
    caption: str, kind: str, arms: Iterable[Mapping[str, Any]], printed: Iterable[Printed]
) -> Table:
    """The figures of tested arms, and below them the rows that a paper printed."""
    figures = FIGURES[kind]
    ours = [
        [OURS, *labels(arm), known_interval(arm["interval"])]
        + [spread(arm["figures"][figure]) for figure in figures.values()]
        for arm in arms
    ]
    theirs = [
        [PRINTED, *(one.cells.get(label, "-") for label in LABELS), "-", "-"]
        + [one.cells.get(column, "-") for column in figures]
        for one in printed
    ]
    header = ["figures", *LABELS, "scope", "interval", *figures]
    return Table(header, [*ours, *theirs], caption)


def notes(benchmark: Mapping[str, Any], printed: Sequence[Printed]) -> Iterator[Block]:
    """What a reader of a benchmark's tables of figures has to know."""
    units = units_of(benchmark)
    yield Paragraph(
        f"Mean over seeds ± standard deviation. The interval is of the "
        f"{benchmark['score']} in which {units} count alike, 95 %. {SCOPES}"
    )
    if printed:
        yield Paragraph(
            f"Rows `{OURS}` were measured here. Rows `{PRINTED}` are copied from a paper: other "
            "data, networks and lengths of training, and no run of didgen."
        )
    if benchmark["kind"] == "classify":
        yield Paragraph(ONE_NUMBER)
        if odd := [*_not_micro(printed)]:
            yield Listing(odd)


def _not_micro(printed: Iterable[Printed]) -> Iterator[str]:
    for one in printed:
        cells = [one.cells.get(column, "-") for column in MICRO]
        if len({cell for cell in cells if cell != "-"}) > 1:
            named = ", ".join(one.cells.get(label, "-") for label in LABELS)
            yield (
                f"{named}: the paper prints {', '.join(cells)} as micro P, R and F1, which differ "
                "and so are no micro averages."
            )


def cost_table(stages: Mapping[str, Stage], found: Mapping[str, Estimate]) -> Table:
    """What every stage took, or is thought to take."""
    return Table(
        ["stage", "command", "hours", "basis"],
        [
            [name, stage.command, f"{found[name].hours:.2f}", found[name].basis]
            for name, stage in stages.items()
        ],
        "Hours of every stage",
    )
