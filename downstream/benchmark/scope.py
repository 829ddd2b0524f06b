"""Scope: which real images a run rests on, held against those that an arm was given.

- closed: all of them lie within the arm's own real images.
- open: more of the source's training images stand behind it, as with a model that a larger centre
  shares.
- unknown: nobody lists what its model was trained on, or a file that it took is of unknown origin.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from didgen.downstream.benchmark.recipe import BenchmarkRecipe, Outside, chosen_record
from didgen.manifests.errors import DidgenError
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.recipes.fields import NAMELESS
from didgen.manifests.shards.index import Manifest
from didgen.manifests.sources.records import SourceManifest, SourceRecord

ScopeName: TypeAlias = Literal["closed", "open", "unknown"]

WIDER: tuple[ScopeName, ...] = ("closed", "open", "unknown")
"""Scopes, each wider than those before."""


@dataclass(frozen=True)
class Scope:
    """The scope of an arm, and the reason where it is not closed."""

    name: ScopeName
    because: str = ""


@dataclass(frozen=True)
class Origin:
    """The real images that a run is known to rest on, and whatever nobody knows of it.

    trained_on: those of its model, all parts of it, and of the model behind another run's masks.
    layouts, captions: the records whose masks guided it, or whose captions it was told. starts: the
    source images of its variations, which stand in trained_on too.
    """

    trained_on: TrainedOn
    layouts: TrainedOn = field(default_factory=TrainedOn)
    captions: TrainedOn = field(default_factory=TrainedOn)
    unknown: str = ""
    starts: tuple[SourceRecord, ...] = ()

    def scope(self, records: Iterable[SourceRecord]) -> Scope:
        """The scope of an arm that was given these real images."""
        given = list(records)
        if self.unknown:
            return Scope("unknown", self.unknown)
        beyond = {
            "its model saw": self.trained_on.beyond([*given, *self.starts]),
            "its variations start from": TrainedOn.of(self.starts).beyond(given),
            "its layouts are of": self.layouts.beyond(given),
            "its captions are of": self.captions.beyond(given),
        }
        told = [
            f"{verb} {len(images)} more real images" for verb, images in beyond.items() if images
        ]
        return Scope("open", ", ".join(told)) if told else Scope("closed")


def origin_of(
    run: Manifest,
    trained_on: TrainedOn,
    layouts: Iterable[str],
    source: SourceManifest,
    starts: Iterable[str] = (),
) -> Origin:
    """What a run rests on, by its list of training images, its rows and its recipe.

    layouts, starts: names of the real images whose masks guided its samples, and of those that its
    variations start from.
    """
    training = source.select(split="train")
    by_key = {record.key: record for record in training}
    named, varied = {*layouts} - NAMELESS, {*starts} - NAMELESS
    unknown = ""
    if not trained_on:
        unknown = "nobody lists what its model was trained on"
    elif run.recipe.get("captions") not in (None, "model"):
        unknown = "its captions are of a file, and nobody lists their images"
    elif named - by_key.keys():
        unknown = "its layouts are of images that the source does not hold"
    elif varied - by_key.keys():
        unknown = "its variations start from images that the source does not hold"
    # A run with a source tells its model captions of that source's training images.
    # Captions of the model are those of its training images, which are listed.
    told = run.recipe.get("source") is not None and run.recipe.get("captions") is None
    told = told and run.recipe.get("prompt", "caption") == "caption"
    captioned = [record for record in training if record.caption] if told else []
    return Origin(
        trained_on,
        TrainedOn.of(by_key[key] for key in named & by_key.keys()),
        TrainedOn.of(captioned),
        unknown,
        tuple(by_key[key] for key in sorted(varied & by_key.keys())),
    )


def widest(scopes: Iterable[Scope]) -> Scope:
    """The widest of some scopes, the first of equals."""
    return max(scopes, key=lambda scope: WIDER.index(scope.name))


def outside_records(
    outside: Outside, tested: Collection[SourceRecord], origins: Mapping[Path, Origin]
) -> list[SourceRecord]:
    """The records of another source, or of images that the benchmark leaves out of its own.

    A `DidgenError` where a run's model was trained on some, and where some are the very images that
    the benchmark tests.
    """
    records = outside.records()
    images = {record.sha256 for record in tested}
    if both := [record for record in records if record.sha256 in images]:
        raise DidgenError(
            f"`outside` ({outside}) holds {both[0].key}, one of {len(both)} test images of the "
            "benchmark itself; name another source, split or `collections`."
        )
    for folder, origin in origins.items():
        if known := [record for record in records if origin.trained_on.knows_record(record)]:
            raise DidgenError(
                f"The model of {folder} was trained on {known[0].key}, which `outside` ({outside}) "
                f"holds, one of {len(known)} such; test on another source."
            )
    return records


def check_chosen(recipe: BenchmarkRecipe, data: Mapping[str, str], runs: Collection[str]) -> None:
    """Raise a `DidgenError` where the choice was made on other images or runs than a recipe has.

    Images that the search validated on could else be test images here. data: the fingerprint of the
    `real` images; runs: those of the runs.
    """
    if recipe.chosen is None:
        return
    path, found = chosen_record(recipe.chosen)
    told = found.get("data")
    theirs = dict(told) if isinstance(told, dict) else {}
    same = theirs.pop("real", None) == data["real"]
    if not same or {*theirs.values()} != {*runs}:
        raise DidgenError(
            f"{path} chose by other {'runs' if same else 'images or splits'} than this recipe has; "
            "give both the same `source` and `runs`, or run the search again."
        )
