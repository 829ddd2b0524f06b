"""The page of several assessments: the figures of each run side by side."""

from collections.abc import Mapping
from typing import Any

from didgen.downstream.pages.document import Block, Heading, Paragraph, Table
from didgen.downstream.pages.quality import FIGURES, figure_name, figure_value, share


def quality_runs_page(records: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """The page of what the `quality.json` of each run holds, by the name of the run."""
    first = next(iter(records.values()))
    configs = dict.fromkeys(row["config"] for one in records.values() for row in one["figures"])
    return [
        Heading("Quality of several runs", 1),
        Paragraph(
            f"Each run against the {first['against']} images of {first['real']}, by features of "
            f"{first['extractor']} at {first['size']} px: value / floor, which is what real images "
            "get when as many are drawn. The page of each run, in the folder of its name, has "
            "intervals, classes and copies."
        ),
        *(block for config in configs for block in _figures(records, config)),
        Heading("Copies"),
        Table(
            ["run", "copies of training images"],
            [[name, share(one["copies"])] for name, one in records.items()],
            "Copies of training images by run",
        ),
    ]


def _figures(records: Mapping[str, Mapping[str, Any]], config: str) -> list[Block]:
    found = {
        (figure_name(row), name): row
        for name, one in records.items()
        for row in one["figures"]
        if (row["config"], row["class"]) == (config, None)
    }
    better = {figure: FIGURES[row["figure"]][1] for (figure, _), row in found.items()}
    return [
        Heading(config),
        Table(
            ["figure", "better", *records],
            [
                [figure, better[figure], *(_cell(found.get((figure, name))) for name in records)]
                for figure in better
            ],
            f"Figures of the {config} by run, value / floor",
        ),
    ]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    return f"{figure_value(row)} / {figure_value(row['floor'], row['figure'])}"
