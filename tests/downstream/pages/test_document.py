"""Tests of documents as Markdown: blocks apart, cells that cannot break their table."""

from didgen.downstream.pages.document import (
    Block,
    Heading,
    Listing,
    Paragraph,
    Picture,
    Table,
    markdown,
)


def test_blocks_become_markdown() -> None:
    blocks: list[Block] = [
        Heading("Title", 1),
        Paragraph("Words."),
        Listing(["one", "two"]),
        Table(["name", "a|b"], [["x|y", "1"]], "not in Markdown"),
        Picture("plots/a.png", "a plot", "What it shows."),
    ]
    assert markdown(blocks).split("\n\n") == [
        "# Title",
        "Words.",
        "- one\n- two",
        "| name | a\\|b |\n| --- | ---: |\n| x\\|y | 1 |",
        "![a plot](plots/a.png)",
        "What it shows.\n",
    ]
