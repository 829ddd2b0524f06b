"""Tests of the blocks of a report: each kind has a form on the page."""

from typing import get_args

import pytest

from didgen.downstream.pages.document import Heading, Listing, Paragraph, Picture, Table
from didgen.downstream.report.blocks import (
    Beside,
    Code,
    Content,
    Facts,
    Figure,
    Fold,
    Gallery,
    Notice,
    Part,
    Way,
)
from didgen.downstream.report.page import render

FIGURE = Figure("data:image/png;base64,AA==", "shown", "A caption.", 10, 10)
BLOCKS: list[tuple[Content, str]] = [
    (Heading("A heading", 3), "A heading"),
    (Paragraph("A `name`."), "<code>name</code>"),
    (Listing(["A sentence."]), "<li>A sentence.</li>"),
    (Table(["row", "value"], [["a", "1"]], "A table"), "A table"),
    (FIGURE, 'alt="shown"'),
    (Gallery([FIGURE], 120), 'alt="shown"'),
    (Facts([("steps", "3")]), "steps"),
    (Code("kind: augment"), "kind: augment"),
    (Notice("Look here."), "Look here."),
    (Way([("Model", "`mini`"), ("Shards", "2 MB")]), "<strong>Model</strong> <code>mini</code>"),
    (Fold("More", [Paragraph("Within.")]), "Within."),
    (Beside([Paragraph("One."), Paragraph("Other.")]), "Other."),
]


@pytest.mark.parametrize(("block", "text"), BLOCKS, ids=lambda one: type(one).__name__)
def test_every_kind_of_block_is_on_the_page(block: Content, text: str) -> None:
    html = render("Report", [Part("A part", "here", [block])])
    assert text in html


def test_the_list_of_kinds_is_whole() -> None:
    # A picture by its path is taken into the page as a figure before.
    assert {type(block) for block, _ in BLOCKS} == {*get_args(Content)} - {Picture}
