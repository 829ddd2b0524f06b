"""What every importer of a public set keeps to, and what its small trees are made of.

A test inherits `PublicSetContract`, names its set, and writes a tree of its form:

    class TestPh2(PublicSetContract):
        name = "ph2"

        def write(self, folder: Path) -> None: ...
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest

from didgen.manifests.choices import LabelBy
from didgen.manifests.errors import DidgenError
from didgen.manifests.importers.admission import Import, ImportOptions
from didgen.manifests.importers.collection import Collection
from didgen.manifests.importers.gathering import import_collection
from didgen.manifests.sources.records import SourceRecord
from tests.contracts.importer import ImporterContract
from tests.fixtures.commands import Command
from tests.fixtures.pictures import write_noise

Rows = list[list[object]]

numbers = iter(range(10**6))


def photo(path: Path) -> None:
    """Write a photograph like no other."""
    write_noise(path, next(numbers))


def table(path: Path, *rows: Sequence[object]) -> None:
    """Write a CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def by_label(records: Iterable[SourceRecord]) -> dict[str | None, int]:
    """How many images each class has."""
    return dict(Counter(record.label for record in records))


class PublicSetContract(ImporterContract):
    """`name` is the command's; `masks_are_truth` where images need no table of labels."""

    name: ClassVar[str]
    masks_are_truth: ClassVar[bool] = False

    def importing(self, folder: Path, **options: Any) -> Import:
        """What the importer makes of a folder, by diagnosis unless `by` says otherwise."""
        by: LabelBy = options.pop("by", "diagnosis")
        module = import_module(f"didgen.manifests.importers.{self.name.replace('-', '_')}")
        found = module.collection(by) if hasattr(module, "collection") else module.COLLECTION
        assert isinstance(found, Collection) and found.name == self.name
        return import_collection(found, folder, ImportOptions(**options))

    def test_the_set_may_lie_deeper_and_its_endings_be_in_any_case(self, collection: Path) -> None:
        before = self.importing(collection)
        for path in sorted(
            p for p in collection.rglob("*") if p.suffix in (".jpg", ".png", ".bmp")
        ):
            path.rename(path.with_suffix(path.suffix.upper()))
        (collection.parent / "deep").mkdir()
        collection.rename(collection.parent / "deep" / "set")
        after = self.importing(collection.parent)

        def facts(result: Import) -> list[tuple[object, ...]]:
            return [
                (r.key, r.label, r.lesion_id, r.patient_id, r.split, r.mask is None, r.licence)
                for r in result.manifest.records
            ]

        assert facts(after) == facts(before)
        assert len(after.rejections) == len(before.rejections)

    def test_every_label_is_told_with_its_class(self, collection: Path) -> None:
        result = self.importing(collection)
        labelled = result.manifest.select(labelled=True)
        assert sum(result.label_map.values()) >= len(labelled)
        assert {name for _, name in result.label_map if name} == {r.label for r in labelled}

    def test_a_table_without_images_is_told(self, collection: Path) -> None:
        for path in [p for p in collection.rglob("*") if p.suffix in (".jpg", ".bmp")]:
            path.unlink()
        with pytest.raises(DidgenError, match="give the folder that its archives were unpacked"):
            self.importing(collection)

    def test_images_without_their_table_are_told(self, collection: Path) -> None:
        for path in [p for p in collection.rglob("*") if p.suffix in (".csv", ".txt")]:
            path.unlink()
        if self.masks_are_truth:
            assert by_label(self.importing(collection).manifest.records).keys() == {None}
        else:
            told = r"the first reason: .* but no table .*; unpack that too"
            with pytest.raises(DidgenError, match=told):
                self.importing(collection)

    def test_an_empty_folder_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DidgenError, match=r"holds (no|neither) .*with images of"):
            self.importing(tmp_path)

    def test_the_command_prints_the_label_map(
        self, collection: Path, tmp_path: Path, command: Command
    ) -> None:
        outcome = command("import", self.name, collection, "--out", tmp_path / "out")
        assert outcome.code == 0, outcome.err
        assert "Labels of the set" in outcome.out
        assert "in two splits" in outcome.out
        assert (tmp_path / "out" / "source.json").is_file()
