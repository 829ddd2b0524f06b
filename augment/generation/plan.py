"""The plan: every sample of a run with its prompt, seed and layout, fixed before any work.

Notable choices:
- A sample is planned from its place alone, so that any process starts with any shard at once,
  whatever the size of the run.
- The seed of a sample is a hash of the run's seed, its class and its index: it depends on nothing
  that is decided while the run goes on.
- Classes take turns, so every shard holds them all.
"""

import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from didgen.augment.generation.layouts import Layout, Layouts
from didgen.augment.methods.generator import Planned
from didgen.augment.prompts.agreement import Room
from didgen.augment.prompts.prompt_source import UNLABELLED, Prompts
from didgen.augment.seeds import derived_seed
from didgen.manifests.errors import DidgenError
from didgen.manifests.recipes.augment import LEFT_OUT, AugmentRecipe
from didgen.manifests.sources.records import SourceManifest

T = TypeVar("T")


class Plan(ABC):
    """The samples of one config, cut into shards; each is planned when it is asked for."""

    def __init__(self, samples: int, shard_size: int) -> None:
        self.samples, self.shard_size = samples, shard_size

    def __len__(self) -> int:
        """The number of shards, the last one perhaps shorter."""
        return -(-self.samples // self.shard_size)

    def places(self, index: int) -> range:
        """The places of a shard's samples among all."""
        first = index * self.shard_size
        return range(first, min(first + self.shard_size, self.samples))

    def shard(self, index: int) -> list[Planned]:
        """The samples of a shard."""
        return [self.planned(place) for place in self.places(index)]

    def keys(self, index: int) -> list[str]:
        """The keys of a shard's samples, without their prompts, which take longer."""
        return [self.key(place) for place in self.places(index)]

    def __iter__(self) -> Iterator[Planned]:
        """All samples, in the order of their places."""
        return map(self.planned, range(self.samples))

    @abstractmethod
    def key(self, place: int) -> str:
        """The key of the sample at a place."""

    @abstractmethod
    def planned(self, place: int) -> Planned:
        """The sample at a place."""


class PlannedImages(Plan):
    """The class-balanced images of a recipe, the classes taking turns; `counts` by class.

    starts: by class, the real images that they are variations of, in the order in which they come,
    again and again; none where they begin from noise alone.
    """

    def __init__(
        self,
        recipe: AugmentRecipe,
        counts: Mapping[str, int],
        prompts: Prompts,
        starts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(sum(counts.values()), recipe.shard_size)
        self.counts, self.prompts, self.seed = counts, prompts, recipe.seed
        self.starts = starts or {}
        self.slugs = _slugs(counts)

    def _turn(self, place: int) -> tuple[str, int]:
        """The class of a place, and which of its images it is."""
        rounds = range(max(self.counts.values()) + 1)
        index = bisect_right(rounds, place, key=self._before) - 1
        waiting = [label for label, count in self.counts.items() if count > index]
        return waiting[place - self._before(index)], index

    def _before(self, index: int) -> int:
        """How many images come before the round in which each class makes its image `index`."""
        return sum(min(count, index) for count in self.counts.values())

    def key(self, place: int) -> str:
        """The class in letters and digits, and the number within it."""
        label, index = self._turn(place)
        return f"{self.slugs[label]}-{index:06d}"

    def planned(self, place: int) -> Planned:
        """An image of the class whose turn it is."""
        label, index = self._turn(place)
        seed = derived_seed(self.seed, "images", label, index)
        key, prompt = f"{self.slugs[label]}-{index:06d}", self.prompts.draw(label, seed)
        starts = self.starts.get(label, [""])
        start = starts[index % len(starts)]
        return Planned("images", key, label, index, seed, prompt, start=start)


class PlannedPairs(Plan):
    """The lesion-mask pairs of a recipe, each guided by a layout of `choices`.

    The choices come in their order, again and again. Where the lesion of one lies outside the
    square that images are cut to, the next one takes its place.
    """

    def __init__(
        self, recipe: AugmentRecipe, choices: Sequence[Layout], layouts: Layouts, prompts: Prompts
    ) -> None:
        assert recipe.pairs is not None
        super().__init__(recipe.pairs.count, recipe.shard_size)
        self.choices, self.layouts, self.prompts = choices, layouts, prompts
        self.seed, self.varied = recipe.seed, recipe.variations is not None
        # A source's masks come again and again, and to measure one takes longer than to plan.
        self._measured: dict[Layout, Room | None] = {}

    def key(self, place: int) -> str:
        """The number of the pair."""
        return f"pair-{place:06d}"

    def planned(self, place: int) -> Planned:
        """A pair whose prompt agrees with its layout."""
        layout, seed, found = self._choice(place)
        prompt = self.prompts.draw(layout.label, seed, found)
        key, guide = self.key(place), (layout.name, layout.mask_of)
        start = layout.name if self.varied else ""
        return Planned("pairs", key, layout.label, place, seed, prompt, *guide, start)

    def _choice(self, place: int) -> tuple[Layout, int, Room]:
        """The layout of a place, the pair's seed, and the room that its lesion has."""
        for step in range(len(self.choices)):
            layout = self.choices[(place + step) % len(self.choices)]
            seed = derived_seed(self.seed, "pairs", layout.label, place)
            if (found := self._room(layout, seed)) is not None:
                return layout, seed, found
        raise DidgenError(
            "No layout is left for pairs: no lesion lies in the middle square of its image; "
            "choose other layouts."
        )

    def _room(self, layout: Layout, seed: int) -> Room | None:
        # A dry run measures no lesion, and need not wait for SciPy.
        from didgen.augment.captions.geometry import room

        if layout.drawn:
            return room(self.layouts.mask(layout.name, seed))
        if layout not in self._measured:
            self._measured[layout] = room(self.layouts.mask(layout.name, seed, layout.mask_of))
        return self._measured[layout]


def check_classes(section: str, named: Iterable[str], known: Iterable[str]) -> None:
    """Raise DidgenError for a class that a section of a recipe names and nobody knows."""
    if unknown := sorted(set(named) - set(known)):
        raise DidgenError(
            f"`{section}` names the class {unknown[0]}, which is not among {', '.join(known)}."
        )


def excluded(
    section: str, exclude: tuple[str, ...] | None, known: Iterable[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    """The classes to leave out: what a recipe says, of known classes; else the default, of any."""
    if exclude is None:
        return default
    check_classes(section, exclude, known)
    return exclude


def class_counts(recipe: AugmentRecipe, real: Mapping[str, int]) -> dict[str, int]:
    """How many images to make of each class; `real` counts the real training images by class.

    One number goes to every class with real images, and to images without a class where a source
    has no classes; `per_class: fill` brings each class up to the largest one. Raises DidgenError
    for a class that is not known.
    """
    assert recipe.images is not None
    per_class = recipe.images.per_class
    if isinstance(per_class, dict):
        # Who names a class wants it: the default exclusion does not hold for named classes.
        left_out = excluded("images", recipe.images.exclude, real, default=())
        check_classes("images", per_class, real)
        # In the order of the classes: a recipe's mapping has none that its record would keep.
        wanted = {label: per_class.get(label, 0) for label in real if label not in left_out}
        return {label: count for label, count in wanted.items() if count}
    if not any(real.values()) and per_class != "fill":
        return {UNLABELLED: per_class}
    left_out = excluded("images", recipe.images.exclude, real, default=LEFT_OUT)
    largest = max(real.values(), default=0)
    wanted = {
        label: largest - count if per_class == "fill" else per_class
        for label, count in real.items()
        if count and label not in left_out
    }
    return {label: count for label, count in wanted.items() if count > 0}


def pair_layouts(
    recipe: AugmentRecipe, labels: Sequence[str], layouts: Layouts, captioned: Iterable[str]
) -> list[Layout]:
    """The layouts of a recipe's pairs in their seeded order; `labels` are the classes there are.

    Drawn layouts take the classes that have captions in turn, and have no class where none has.
    Those of a source or a run are its masks, none a second time before all were used, each with
    its own class. No class is left out unless the recipe says so (DiDGen, Section 3.3).
    """
    assert recipe.pairs is not None
    left_out = excluded("pairs", recipe.pairs.exclude, labels, default=())
    offered = layouts.offered()
    if recipe.pairs.layouts == "drawn":
        known = [label for label in labels if label in set(captioned)] or [UNLABELLED]
        chosen = [Layout.of_a_drawing(label) for label in known if label not in left_out]
        none_left = "`pairs.exclude` lets no class through that has captions."
    else:
        chosen = [layout for layout in offered if layout.label not in left_out]
        order = np.random.default_rng(derived_seed(recipe.seed, "layouts")).permutation(len(chosen))
        chosen = [chosen[place] for place in order]
        none_left = "there is no training mask of a class that `pairs.exclude` lets through."
    if not chosen and recipe.pairs.count:
        raise DidgenError(f"No layout is left for pairs: {none_left}")
    return chosen


def _slugs(counts: Mapping[str, int]) -> dict[str, str]:
    """The classes in letters and digits, as keys hold them; no two alike."""
    # Cut so that the key with its number, and what a mix puts before it, fits a shard.
    slugs = {label: re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")[:60] for label in counts}
    if UNLABELLED in slugs:
        slugs[UNLABELLED] = "image"
    doubled = [slug for slug, uses in Counter(slugs.values()).items() if uses > 1 or not slug]
    if doubled:
        raise DidgenError(
            "Class names must differ in their letters and digits, the first 60 of them, but "
            f"{doubled[0]!r} stands for more than one or for none; rename the classes in the "
            "source."
        )
    return slugs


def batches_of(planned: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut samples into batches of `size`, the last one shorter."""
    return [planned[first : first + size] for first in range(0, len(planned), size)]


def real_counts(manifest: SourceManifest) -> dict[str, int]:
    """Training images by class, in the source's order of classes, zeros included."""
    counts = Counter(record.label for record in manifest.select(split="train", labelled=True))
    return {label: counts[label] for label in manifest.header.classes}
