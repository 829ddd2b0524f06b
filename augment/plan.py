"""The plan: every sample of a run with its prompt, seed and layout, fixed before any work.

Notable choices:
- The seed of a sample is a hash of the run's seed, its class and its index: it depends on nothing
  that is decided while the run goes on.
- Classes take turns, so every shard holds them all.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augment.layout import Layouts
from augment.measure import Room, agree, agree_sentence, room
from augment.prompt import TOKEN_LIMIT, Attributes, compose, fit, parse, recombine, render
from manifests.errors import DidgenError
from manifests.files import read_json_lines
from manifests.recipe import DRAWN, LEFT_OUT, AugmentRecipe
from manifests.records import SourceManifest
from manifests.shards import Config

UNLABELLED_PAIR = ""
"""Label of a pair whose layout's image has none."""


@dataclass(frozen=True)
class Planned:
    """One sample before it is made; `layout` is a source key, "drawn", or "" for none."""

    config: Config
    key: str
    label: str
    index: int
    seed: int
    prompt: str
    layout: str

    def row(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self)


Captions = Mapping[str, Sequence[str]]
"""Known captions by label; "" holds those of images without one."""


def captions_of(rows: Iterable[tuple[str | None, str | None]]) -> dict[str, list[str]]:
    """Group (label, caption) rows by label; rows without a caption are left out."""
    grouped: dict[str, list[str]] = {}
    for label, caption in rows:
        if caption:
            grouped.setdefault(label or UNLABELLED_PAIR, []).append(caption)
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


def derived_seed(*parts: str | int) -> int:
    """A seed in [0, 2^63) that is a hash of its parts."""
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Prompts:
    """New prompts of a class, recombined from its known captions, within a limit of tokens."""

    def __init__(
        self, captions: Captions, count_tokens: Callable[[str], int], limit: int = TOKEN_LIMIT
    ) -> None:
        self.captions, self.count_tokens, self.limit = captions, count_tokens, limit
        self.attributes: dict[str, list[Attributes]] = {
            label: [read for caption in known if (read := parse(caption)) is not None]
            for label, known in captions.items()
        }

    def draw(self, label: str, seed: int, layout: Room | None = None) -> str:
        """A prompt of a class; with a layout, one whose size, shape and place are the layout's.

        A caption that was not rendered from attributes comes as often as it is there; what it says
        of the lesion's geometry gives way to the layout.
        Raises DidgenError for a class without captions.
        """
        known = self.captions.get(label)
        if not known:
            raise DidgenError(
                f"No caption of the class {label or 'unlabelled'} is known; "
                "caption the source, or leave the class out of the recipe."
            )
        # The layout is drawn from the bare seed; its numbers and these must not go together.
        rng = np.random.default_rng([seed, 1])
        caption = known[int(rng.integers(len(known)))]
        if parse(caption) is not None:
            attributes = recombine(self.attributes, label, rng)
            if layout is not None:
                attributes = agree(attributes, layout)
            caption = render(attributes)
        elif layout is not None:
            caption = agree_sentence(caption, layout)
        return compose(fit(caption, self.count_tokens, self.limit))


def check_classes(section: str, named: Iterable[str], known: Iterable[str]) -> None:
    """Raise DidgenError for a class that a section of a recipe names and nobody knows."""
    if unknown := sorted(set(named) - set(known)):
        raise DidgenError(
            f"`{section}` names the class {unknown[0]}, which is not among {', '.join(known)}."
        )


def excluded(
    section: str,
    exclude: tuple[str, ...] | None,
    known: Iterable[str],
    default: tuple[str, ...] = LEFT_OUT,
) -> tuple[str, ...]:
    """The classes to leave out: what a recipe says, of known classes; else the default, of any."""
    if exclude is None:
        return default
    check_classes(section, exclude, known)
    return exclude


def class_counts(recipe: AugmentRecipe, real: Mapping[str, int]) -> dict[str, int]:
    """How many images to make of each class; `real` counts the real training images by class.

    One number goes to every class with real images; `per_class: fill` brings each of these up to
    the largest one. Raises DidgenError for a class that is not known.
    """
    assert recipe.images is not None
    asked = recipe.images.per_class
    if isinstance(asked, dict):
        # Who names a class wants it: the default exclusion does not hold for named classes.
        left_out = excluded("images", recipe.images.exclude, real, default=())
        check_classes("images", asked, real)
        # In the order of the classes: a recipe's mapping has none that its record would keep.
        return {label: asked[label] for label in real if asked.get(label) and label not in left_out}
    left_out = excluded("images", recipe.images.exclude, real)
    largest = max(real.values(), default=0)
    return {
        label: made
        for label, count in real.items()
        if count
        and label not in left_out
        and (made := largest - count if asked == "fill" else asked) > 0
    }


def plan_images(recipe: AugmentRecipe, real: Mapping[str, int], prompts: Prompts) -> list[Planned]:
    """The class-balanced images of a recipe, the classes taking turns."""
    counts = class_counts(recipe, real)
    # Cut so that the key with its number, and what a mix puts before it, fits a shard.
    slugs = {label: re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")[:60] for label in counts}
    doubled = [slug for slug, uses in Counter(slugs.values()).items() if uses > 1 or not slug]
    if doubled:
        raise DidgenError(
            "Class names must differ in their letters and digits, the first 60 of them, but "
            f"{doubled[0]!r} stands for more than one or for none; rename the classes in the "
            "source."
        )
    planned = []
    for index in range(max(counts.values(), default=0)):
        for label, count in counts.items():
            if index < count:
                seed = derived_seed(recipe.seed, "images", label, index)
                key = f"{slugs[label]}-{index:06d}"
                prompt = prompts.draw(label, seed)
                planned.append(Planned("images", key, label, index, seed, prompt, ""))
    return planned


def plan_pairs(
    recipe: AugmentRecipe, labels: Sequence[str], layouts: Layouts, prompts: Prompts
) -> list[Planned]:
    """The lesion-mask pairs of a recipe; `labels` are the classes there are.

    Drawn layouts take the classes that have captions in turn, and have no class where none has.
    Layouts of a source are its training masks in a seeded order, none a second time before all
    were used, each with its image's class.
    """
    assert recipe.pairs is not None
    left_out = excluded("pairs", recipe.pairs.exclude, labels)
    if recipe.pairs.layouts == "drawn":
        known = [label for label in labels if label in prompts.captions] or [UNLABELLED_PAIR]
        choices = [(label, DRAWN) for label in known if label not in left_out]
        none_left = "`pairs.exclude` lets no class through that has captions."
    else:
        choices = [
            (record.label or UNLABELLED_PAIR, key)
            for key, record in layouts.records.items()
            if record.label not in left_out
        ]
        order = np.random.default_rng(derived_seed(recipe.seed, "layouts")).permutation(
            len(choices)
        )
        choices = [choices[place] for place in order]
        none_left = "the source has no training mask of a class that `pairs.exclude` lets through."
    # A source's masks come again and again, and to measure one takes longer than to plan its pair.
    measured: dict[str, Room | None] = {}
    planned: list[Planned] = []
    while len(planned) < recipe.pairs.count:
        if not choices:
            raise DidgenError(f"No layout is left for pairs: {none_left}")
        index = len(planned)
        label, layout = choice = choices[index % len(choices)]
        seed = derived_seed(recipe.seed, "pairs", label, index)
        if layout == DRAWN or layout not in measured:
            measured[layout] = room(layouts.mask(layout, seed))
        left = measured[layout]
        if left is None:
            # The lesion lies outside the square that the image is cut to.
            choices.remove(choice)
            continue
        prompt = prompts.draw(label, seed, left)
        planned.append(Planned("pairs", f"pair-{index:06d}", label, index, seed, prompt, layout))
    return planned


def shards_of(planned: Sequence[Planned], size: int) -> list[list[Planned]]:
    """Cut a plan into shards of `size` samples, the last one shorter."""
    return [list(planned[first : first + size]) for first in range(0, len(planned), size)]


def real_counts(manifest: SourceManifest) -> dict[str, int]:
    """Training images by class, in the source's order of classes, zeros included."""
    counts = Counter(record.label for record in manifest.select(split="train", labelled=True))
    return {label: counts[label] for label in manifest.header.classes}
