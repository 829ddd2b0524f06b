"""The notebooks of the tutorials: `make notebooks` writes each beside the page that it is made of.

Notable choices:
- A page is the one source. Its notebook is committed without outputs, and is what jupytext makes of
  the page.
- A block of the shell is a cell of bash that stops at the first fault. A block with a title is a
  cell that writes the file.
- A block that the tests do not run has the tag by which nbclient passes it by.
"""

import re
from pathlib import Path

import jupytext
import nbformat

TUTORIALS = Path(__file__).parent.parent / "tutorials"

LINK = "[This page as a notebook]({name}.ipynb)\n\n"
"""What a page says under its title, and its notebook does not."""

OPENING = re.compile(
    r"(?P<note>^\*Not run by the tests: [^*]+\.\*\n\n)?"
    r'^```(?P<language>sh|python|yaml)(?: title="(?P<title>[^"]+)")?$',
    re.M,
)
FIRST_LINE = {"sh": "\n%%bash -e", "python": ""}


def cell(found: re.Match[str]) -> str:
    """The opening of a block as jupytext reads that of a cell."""
    note, language, title = found.groups(default="")
    tags = ' tags=["skip-execution"]' if note else ""
    first = f"\n%%writefile {title}" if title else FIRST_LINE[language]
    return f"{note}```python{tags}{first}"


def notebook(page: Path) -> str:
    """The notebook of a page of Markdown, as the text of its file."""
    text = page.read_text().replace(LINK.format(name=page.stem), "", 1)
    made = jupytext.reads(OPENING.sub(cell, text), fmt="md")
    for number, one in enumerate(made.cells):
        one.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made.metadata = nbformat.from_dict({"kernelspec": kernel})
    return nbformat.writes(made) + "\n"


def pages() -> list[Path]:
    """The tutorials that have a notebook."""
    return sorted(page for page in TUTORIALS.glob("*.md") if page.name != "README.md")


if __name__ == "__main__":
    for page in pages():
        page.with_suffix(".ipynb").write_text(notebook(page))
