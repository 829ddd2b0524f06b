"""Prompt source: the captions of each class that a run draws its prompts from."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from didgen.augment.prompts.agreement import Room, agree, agree_sentence
from didgen.augment.prompts.prompt import TOKEN_LIMIT, compose, diagnosis, fit
from didgen.augment.prompts.schema import Attributes
from didgen.augment.prompts.sentence import Free, parse, recombine, render
from didgen.manifests.choices import PromptForm
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import read_json_lines

FREE_FORMAT = 2
"""Changed with whatever makes another prompt of a free sentence."""

UNLABELLED = ""
"""Label of a sample without a class."""

Captions = Mapping[str, Sequence[str]]
"""Known captions by label; "" holds those of images without one."""


def captions_of(rows: Iterable[tuple[str | None, str | None]]) -> dict[str, list[str]]:
    """Group (label, caption) rows by label; rows without a caption are left out."""
    grouped: dict[str, list[str]] = {}
    for label, caption in rows:
        if caption:
            grouped.setdefault(label or UNLABELLED, []).append(caption)
    return grouped


def read_captions(path: Path) -> dict[str, list[str]]:
    """Captions by label of a file with a label and a caption a line, as `didgen prompts` writes."""
    rows = []
    for row in read_json_lines(path):
        match row:
            case {"label": str() | None as label, "caption": str() | None as caption}:
                rows.append((label, caption))
            case _:
                raise DidgenError(
                    f"{path} must hold a label and a caption a line, both in quotes; make it again "
                    "or give another one."
                )
    return captions_of(rows)


class Prompts:
    """New prompts of a class, recombined from its known captions, within a limit of tokens."""

    def __init__(
        self,
        captions: Captions,
        count_tokens: Callable[[str], int],
        limit: int = TOKEN_LIMIT,
        form: PromptForm = "caption",
    ) -> None:
        self.captions, self.count_tokens, self.limit = captions, count_tokens, limit
        self.form = form
        # Each caption is read once: a model comes with thousands.
        self._read = {label: [parse(text) for text in known] for label, known in captions.items()}
        self.attributes: dict[str, list[Attributes]] = {
            label: [found for found in read if isinstance(found, Attributes)]
            for label, read in self._read.items()
        }

    def decision(self) -> dict[str, str]:
        """How many captions are free sentences, and why, in words; empty where none is."""
        known = [found for read in self._read.values() for found in read]
        counts = Counter(found.reason for found in known if isinstance(found, Free))
        told = "; ".join(f"{count} have {reason}" for reason, count in sorted(counts.items()))
        if not counts or self.form != "caption":
            return {}
        return {
            "captions": f"{sum(counts.values())} of {len(known)} are free sentences, which are not "
            f"recombined, and whose words of geometry give way to a layout's, because {told}"
        }

    def check(self, labels: Iterable[str]) -> None:
        """Raise DidgenError for a class without captions."""
        for label in labels:
            if not self.captions.get(label):
                raise DidgenError(
                    f"No caption of the class {label or 'unlabelled'} is known; "
                    "caption the source, or leave the class out of the recipe."
                )

    def draw(self, label: str, seed: int, layout: Room | None = None) -> str:
        """A prompt of a class; with a layout, one whose size, shape and place are the layout's.

        A caption that was not rendered from attributes comes as often as it is there; what it says
        of the lesion's geometry gives way to the layout.
        Raises DidgenError for a class without captions.
        """
        if self.form != "caption":
            return compose(diagnosis(label or None) if self.form == "class" else None)
        self.check([label])
        known = self.captions[label]
        # The layout is drawn from the bare seed; its numbers and these must not go together.
        rng = np.random.default_rng([seed, 1])
        chosen = int(rng.integers(len(known)))
        caption = known[chosen]
        if isinstance(self._read[label][chosen], Attributes):
            attributes = recombine(self.attributes, label, rng)
            if layout is not None:
                attributes = agree(attributes, layout)
            caption = render(attributes)
        elif layout is not None:
            caption = agree_sentence(caption, layout)
        return compose(fit(caption, self.count_tokens, self.limit))
