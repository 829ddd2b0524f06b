"""Language models, near or far, that are shown an image and asked for words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from pydantic import BaseModel

from didgen.augment.captions.answers import Unfit
from didgen.augment.prompts.prompt import clean
from didgen.manifests.choices import ChatBackend
from didgen.manifests.images import middle, read_image

MAX_SIDE = 768
"""Longest side in pixels of an image that is shown to a model."""

MAX_NEW_TOKENS = 200
"""Tokens of the longest answer."""


@dataclass(frozen=True)
class Question:
    """What a model is asked: a text, an image file to look at, a schema for its answer.

    With a seed the answer is sampled, so that many answers to one question differ.
    """

    text: str
    image: Path | None = None
    schema: type[BaseModel] | None = None
    seed: int | None = None


class Chat(Protocol):
    """A language model behind one interface.

    `name` is backend and model in words; `structured` says whether a schema may be asked for, and
    may turn False when the model shows that it takes none.
    """

    name: str
    structured: bool
    batch_size: int
    concurrency: int

    def ask(self, questions: Sequence[Question]) -> list[str | Unfit]:
        """Answer a batch of questions, all with an image or all without.

        Raises DidgenError where the model cannot be reached at all.
        """

    def close(self) -> None:
        """Close what is open; the model is not asked again."""


@dataclass(frozen=True)
class ChatSettings:
    """Which language model, and how hard it may be driven."""

    backend: ChatBackend
    model: str | None = None
    base_url: str | None = None
    concurrency: int = 8
    retries: int = 5
    batch_size: int = 4


def chat_name(backend: ChatBackend, model: str) -> str:
    """Backend and model on one line; two of them fit the 200 characters of a record's `OneLine`."""
    return f"{backend} {clean(model)[-70:]}"


def shown(path: Path) -> Image.Image:
    """The central square of an image file as a model is shown it: RGB, upright, of at most
    `MAX_SIDE` pixels a side."""
    image = Image.fromarray(middle(np.asarray(read_image(path))))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return image
