"""Forms: a table as LaTeX and as CSV, beside the Markdown of documents."""

import csv
import io
import re

from didgen.downstream.pages.document import Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}

_ANY = re.compile("|".join(map(re.escape, _SPECIAL)))


def latex(table: Table) -> str:
    """A table for LaTeX's package booktabs; the first column is set to the left."""
    rows = [" & ".join(map(escaped, row)) + r" \\" for row in (table.header, *table.rows)]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped(table.caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            rows[0],
            r"\midrule",
            *rows[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """A text that LaTeX sets as it is."""
    return _ANY.sub(lambda found: _SPECIAL[found[0]], text)


def comma_separated(table: Table) -> str:
    """A table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
    return text.getvalue()
