"""The plan: every sample of a run with its prompt, seed and layout, fixed before any work.

Notable choices:
- The seed of a sample is a hash of the run's seed, its class and its index: it depends on nothing
  that is decided while the run goes on.
- Classes take turns, so every shard holds them all.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from didgen.augment.generation.layouts import Layouts
from didgen.augment.prompts.geometry import Room, room
from didgen.augment.prompts.prompt_source import UNLABELLED_PAIR, Prompts
from didgen.augment.seeds import derived_seed
from didgen.manifests.choices import Config
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import LEFT_OUT, AugmentRecipe
from didgen.manifests.recipes.fields import DRAWN
from didgen.manifests.sources.records import SourceManifest


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
        label: generated
        for label, count in real.items()
        if count
        and label not in left_out
        and (generated := largest - count if asked == "fill" else asked) > 0
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
