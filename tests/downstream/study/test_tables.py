"""Tests of a study's tables: ours and a paper's told apart, in three forms."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from didgen.downstream.pages import arms
from didgen.downstream.pages.document import Table, markdown
from didgen.downstream.study.forms import comma_separated, latex
from didgen.downstream.study.tables import OURS, PRINTED, figures_table, notes, read_printed
from didgen.manifests.errors import DidgenError

NAMES = [
    f"{kind}_{name}" for kind in ("macro", "weighted") for name in ("precision", "recall", "f1")
]


def benchmark() -> dict[str, Any]:
    """A record of two arms, one of which was not tested."""
    figures = {
        name: {"mean": 0.25, "deviation": 0.01}
        for name in ("balanced_accuracy", "accuracy", "mean_auc", *NAMES)
    }
    arm = {"network": "conv", "real": 25, "arm": "didgen", "scope": "open", "interval": [0.2, 0.3]}
    tested, untested = ({**arm, "figures": one} for one in (figures, None))
    return {
        "kind": "classify",
        "unit": "lesion",
        "score": "balanced accuracy",
        "arms": [tested, untested],
    }


def write_printed(path: Path, *rows: dict[str, str]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_rows_of_a_paper_are_marked_and_their_micro_columns_named(tmp_path: Path) -> None:
    row = {"benchmark": "t", "network": "conv", "real": "all", "arm": "theirs"}
    three = {"micro P": "1.1", "micro R": "2.2", "micro F1": "3.3", "weighted F1": "4.4"}
    printed = read_printed(write_printed(tmp_path / "p.csv", row | three), {"t": "classify"})
    table = figures_table("t", "classify", arms.tested(benchmark()["arms"]), printed)
    assert [row[0] for row in table.rows] == [OURS, PRINTED]
    ours, theirs = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert ours["micro P"] == ours["micro R"] == ours["micro F1"] == "0.250 ± 0.010"
    assert theirs["micro R"] == "2.2" and theirs["weighted F1"] == "4.4"
    assert theirs["macro P"] == theirs["scope"] == "-"
    said = markdown(notes(benchmark(), printed))
    assert "theirs: the paper prints 1.1, 2.2, 3.3 as micro P, R and F1, which differ" in said
    assert PRINTED not in markdown(notes(benchmark(), []))
    alike = read_printed(
        write_printed(tmp_path / "q.csv", row | dict.fromkeys(three, "1.0")), {"t": "classify"}
    )
    assert "which differ" not in markdown(notes(benchmark(), alike))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"benchmark": "u"}, "line 2: u is no benchmark"),
        ({"benchmark": "t", "micro F": "1"}, "micro F is no column of t; the nearest is micro F1"),
    ],
)
def test_a_table_that_nobody_can_place_is_refused(
    row: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DidgenError, match=sentence):
        read_printed(write_printed(tmp_path / "p.csv", row), {"t": "classify"})
    with pytest.raises(DidgenError, match="cannot be read"):
        read_printed(tmp_path / "nothing.csv", {})


def test_forms_hold_the_same_cells() -> None:
    table = Table(["name", "a, b"], [["50 % & more_", "1 ± 2"], ["\\x{y}", "-"]], "A #1 table")
    rows = [*csv.reader(io.StringIO(comma_separated(table)))]
    assert rows == [table.header, *table.rows]
    text = latex(table)
    assert r"50 \% \& more\_ & 1 $\pm$ 2 \\" in text
    assert r"\textbackslash{}x\{y\} & - \\" in text
    assert r"\caption{A \#1 table}" in text and r"\begin{tabular}{lr}" in text
