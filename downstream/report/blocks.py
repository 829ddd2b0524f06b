"""Blocks: what a report's parts are made of, besides the blocks that any document has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from didgen.downstream.pages.document import Block


@dataclass(frozen=True)
class Figure:
    """A picture that lies in the page itself, as a data URI; `dark` is its double for dark pages.

    width, height: its own size in pixels. `wide` ones keep their size on a narrow page, in a box
    that scrolls.
    """

    data: str
    alt: str
    caption: str
    width: int
    height: int
    dark: str | None = None
    wide: bool = False


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
class Fold:
    """Blocks that are there once they are asked for."""

    summary: str
    blocks: Sequence["Content"]


@dataclass(frozen=True)
class Beside:
    """Blocks that stand side by side where the page is wide enough."""

    blocks: Sequence["Content"]


Content: TypeAlias = Block | Figure | Gallery | Facts | Code | Notice | Fold | Beside


@dataclass(frozen=True)
class Part:
    """What a report says of one folder. Its sections begin with the headings of level 2."""

    title: str
    place: str
    blocks: Sequence[Content]
