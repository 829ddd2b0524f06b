"""Scope: what a run rests on, against what its arm was given."""

from collections.abc import Callable
from pathlib import Path

import pytest

from didgen.downstream.benchmark.scope import Origin, Scope, origin_of, widest
from didgen.manifests.provenance.trained_on import TrainedOn
from didgen.manifests.shards.index import Manifest, read_manifest
from didgen.manifests.sources.records import SourceManifest, SourceRecord


@pytest.fixture
def train(source: Path) -> list[SourceRecord]:
    return SourceManifest.read(source).select(split="train")


def told(run: Path, **recipe: object) -> Manifest:
    found = read_manifest(run)
    return found.model_copy(update={"recipe": {**found.recipe, **recipe}})


def test_closed_is_within_the_arms_own_images(train: list[SourceRecord]) -> None:
    origin = Origin(TrainedOn.of(train[:3]), TrainedOn.of(train[2:4]))
    assert origin.scope(train[:4]) == Scope("closed")
    assert origin.scope(train) == Scope("closed")
    found = origin.scope(train[1:3])
    assert found.name == "open"
    assert (
        found.because == "its model saw 1 more real images, its layouts are of 1 more real images"
    )
    # Another image of the same lesion is another image.
    moved = [record.model_copy(update={"lesion_id": train[0].lesion_id}) for record in train[3:6]]
    assert Origin(TrainedOn.of(train[:1])).scope(moved).name == "open"


def test_source_images_of_variations_are_told_beside_what_the_model_saw(
    run: Path, source: Path, train: list[SourceRecord]
) -> None:
    manifest, starts = SourceManifest.read(source), [train[2].key, train[3].key]
    listed = TrainedOn.of(train[:4])
    origin = origin_of(told(run), listed, [], manifest, starts)
    assert origin.scope(train[:4]).name == "closed"
    assert origin.scope(train[:3]).because == "its variations start from 1 more real images"
    assert origin.scope(train[2:4]).because == "its model saw 2 more real images"
    lost = origin_of(told(run), listed, [], manifest, ["ISIC_9999999"]).scope(train)
    assert lost.because == "its variations start from images that the source does not hold"


def test_an_origin_comes_from_list_rows_and_recipe(
    run: Path, source: Path, train: list[SourceRecord], make_source: Callable[..., Path]
) -> None:
    manifest = SourceManifest.read(source)
    listed, layouts = TrainedOn.of(train[:2]), [train[4].key, "drawn", ""]
    origin = origin_of(told(run), listed, layouts, manifest)
    assert origin.scope(train[:5]).name == "closed"
    assert origin.scope(train[:4]).because == "its layouts are of 1 more real images"
    assert origin_of(told(run), TrainedOn(), layouts, manifest).scope(train).name == "unknown"
    file = origin_of(told(run, captions="c.jsonl"), listed, layouts, manifest)
    assert file.scope(train).because == "its captions are of a file, and nobody lists their images"
    assert origin_of(told(run), listed, ["ISIC_9999999"], manifest).scope(train).name == "unknown"


def test_captions_of_the_source_are_those_of_all_its_training_images(
    run: Path, source: Path, train: list[SourceRecord]
) -> None:
    read = SourceManifest.read(source)
    records = tuple(r.model_copy(update={"caption": "a lesion"}) for r in read.records)
    manifest = SourceManifest(read.header, records)
    listed = TrainedOn.of(train[:2])
    for recipe, name in (
        ({"source": "s"}, "open"),
        ({"source": "s", "prompt": "caption"}, "open"),
        ({"source": "s", "prompt": "class"}, "closed"),
        # Those of the model are of its own training images.
        ({"source": "s", "captions": "model"}, "closed"),
        ({"source": None}, "closed"),
    ):
        origin = origin_of(told(run, **recipe), listed, [], manifest)
        assert origin.scope(train[:2]).name == name
        assert origin.scope(train).name == "closed"


def test_the_widest_of_scopes_is_told() -> None:
    narrow, open_, lost = Scope("closed"), Scope("open", "a"), Scope("unknown", "b")
    assert widest([narrow, open_, Scope("open", "c")]) == open_
    assert widest([lost, open_]) == lost
    assert widest([narrow]) == narrow
