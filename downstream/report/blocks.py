"""Blocks: what a report's parts are made of, besides the blocks that any document has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from didgen.downstream.pages.document import Block


@dataclass(frozen=True)
class Drawing:
    """A plot as a data URI, with its double for dark pages; width, height: pixels."""

    light: str
    dark: str
    width: int
    height: int


@dataclass(frozen=True)
class Figure:
    """A picture that lies in the page itself, as a data URI; `dark` is its double for dark pages.

    width, height: its own size in pixels. On a narrow page `narrow` takes its place, where it is
    there; `wide` ones keep their size, in a box that scrolls.
    """

    data: str
    alt: str
    caption: str
    width: int
    height: int
    dark: str | None = None
    wide: bool = False
    narrow: Drawing | None = None


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many as the page is wide; `least` is the width of one in pixels."""

    figures: Sequence[Figure]
    least: int


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Text as it stands, line by line."""

    text: str


@dataclass(frozen=True)
class Notice:
    """A sentence that must not be overlooked."""

    text: str


@dataclass(frozen=True)
class Way:
    """Stations of the work in their order, an arrow from each to the next: its name, and facts."""

    stations: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Fold:
    """Blocks that are there once they are asked for."""

    summary: str
    blocks: Sequence["Content"]


@dataclass(frozen=True)
class Beside:
    """Blocks that stand side by side where the page is wide enough."""

    blocks: Sequence["Content"]


Content: TypeAlias = Block | Figure | Gallery | Facts | Code | Notice | Way | Fold | Beside


@dataclass(frozen=True)
class Part:
    """What a report says of one folder. Its sections begin with the headings of level 2.

    uses: the folders that its own was made from or measures, of which the page may have parts too.
    """

    title: str
    place: str
    blocks: Sequence[Content]
    uses: Sequence[Path] = ()
